"""The command ``inspect``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click
from google.protobuf.message import DecodeError, Message

import chatpb
from chatpb import _endings
from chatpb._cli.difference import shown
from chatpb._cli.failure import CliError, at
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import (
    delimited_option,
    input_options,
    keys_option,
    kind_option,
    storage_option,
)
from chatpb._cli.reading.compressed import is_log
from chatpb._cli.reading.input import STDIN, Reading, explained, open_source, some
from chatpb._cli.reading.kinds import Kind
from chatpb._cli.reading.source import Record
from chatpb._cli.view import json_view, token_tables
from chatpb._errors import ConversionError
from chatpb._mapping.text import parse
from chatpb._record import members
from chatpb.v1 import ChatCompletion

if TYPE_CHECKING:
    from rich.console import Console

_HEADER = ("id", "model", "created", "usage")  # members that the header shows too
_MAX_RESIDUE = 100
_Found = tuple[Callable[[], Message], str]  # what gives a message, and its place
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _at_most(name: str, default: int, text: str) -> Callable[[_Command], _Command]:
    """An option for a number."""
    number = click.IntRange(min=0)
    return click.option(
        name, type=number, default=default, show_default=True, metavar="N", help=text
    )


@click.command()
@click.argument("file", default="-", metavar="[FILE]")
@_at_most("--tokens", 50, "Show at most N tokens of a list.")
@_at_most("--top", 3, "Show at most N alternatives.")
@_at_most("--messages", 10, "Show at most N messages.")
@kind_option
@delimited_option
@keys_option
@input_options
@storage_option
def command(
    file: str,
    tokens: int,
    top: int,
    messages: int,
    kind: Kind | None,
    keys: LogKeys | None,
    reading: Reading,
) -> None:
    """Show a message, its residue and its tokens.

    Reads JSON or binary, or the messages of the records of a table or a log. If there are many
    messages, shows the first ones.

    \b
      chatpb inspect response.json
      chatpb inspect --type chunk -d chunks.delimited
      chatpb fold stream.sse | chatpb inspect --top 5
      chatpb inspect --messages 2 table

    For log probabilities there is a table: each token with its logprob, its probability and the
    most likely alternatives. Long strings and lists are cut short.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    found = _stored(file, keys) if _is_stored(file) else _read(file, kind, reading)
    for count, (message, place) in enumerate(islice(found, messages)):
        if count:
            console.print()
        _show(console, place, message(), tokens, top)
    more = sum(1 for _ in found)
    if more:
        console.print(f"\n{more:,} more messages; see --messages")


def _read(file: str, kind: Kind | None, reading: Reading) -> Iterator[_Found]:
    """The messages of a file of JSON or binary."""
    with open_source(file, reading) as source:
        for record in some(source.records(), [file]):
            of = kind or record.kind(ChatCompletion)
            yield partial(_message, record, of, reading.allow_nan), record.place


def _is_stored(file: str) -> bool:
    """Whether a table or a log is named, rather than a file of messages."""
    if file == STDIN:
        return False
    is_there = "://" in file or os.path.isdir(file) or file.endswith(_endings.PARQUET)
    return is_there or is_log(file)


def _stored(path: str, keys: LogKeys | None) -> Iterator[_Found]:
    """The messages of the records of a table or log."""
    from chatpb._cli.stored.records import records  # imports pyarrow

    is_empty = True
    for data, place in records([path], keys=keys):
        for member in members(data):
            is_empty = False
            yield partial(member.type.FromString, member.data), f"{place}, {member.field}"
    if is_empty:
        raise CliError(f"{path}: no message in it")


def _message(record: Record, kind: Kind, allow_nan: bool) -> Message:
    try:
        if record.source.is_binary:
            return kind.FromString(record.data)
        return chatpb.from_json(record.data, kind, allow_nan=allow_nan)
    except ConversionError as error:
        raise explained(record, error) from None
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        hint = "pass --type or --delimited if it is something else"
        raise CliError(f"{record.place}: not the binary form of a {name}; {hint}") from None


def _show(console: Console, place: str, message: Message, tokens: int, top: int) -> None:
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    try:
        text = chatpb.to_json(message, allow_nan=True, ignore_unknown_fields=True)
        residue = chatpb.residue(message)
    except ConversionError as error:
        raise at(place, error) from None
    lines = [("kind", message.DESCRIPTOR.full_name), ("from", place)]
    lines += [(name, value) for name in _HEADER if (value := _value(message, name)) is not None]
    size = message.ByteSize()
    lines.append(
        ("size", f"{len(text):,} bytes of JSON, {size:,} in Protobuf ({size / len(text):.1%})")
    )
    for name, value in lines:
        console.print(Text.assemble((f"{name:8}", "bold"), value))
    console.print()
    console.print(JSONHighlighter()(Text(json_view(parse(text, allow_nan=True)))))
    if residue:
        console.print(Text.assemble("\n", (f"residue ({len(residue):,})", "bold")))
    for member in residue[:_MAX_RESIDUE]:
        value = f" {shown(member.value)}" if member.state == "extra" else ""
        console.print(Text(f"  {member.state:6}  {member.path}{value}"))
    if len(residue) > _MAX_RESIDUE:
        console.print(f"  {len(residue) - _MAX_RESIDUE:,} more")
    for table in token_tables(message, tokens, top):
        console.print()
        console.print(table)


def _value(message: Message, name: str) -> str | None:
    """A member of the header as text, if the message has it."""
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None or not (value := getattr(message, name)):
        return None
    if field.message_type is not None:
        if not message.HasField(name):
            return None
        counts = (
            (part.name, getattr(value, part.name))
            for part in field.message_type.fields
            if not part.has_presence or value.HasField(part.name)
        )
        return ", ".join(f"{count:,} {part}" for part, count in counts if type(count) is int)
    if name == "created":
        return _date(value)
    return str(value)


def _date(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC ({seconds})"
    except (OverflowError, ValueError, OSError):
        return str(seconds)
