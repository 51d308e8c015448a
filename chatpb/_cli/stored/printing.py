"""Printing records as lines of JSON: which part of them, and with which options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import click
import orjson
from google.protobuf.message import Message

import chatpb
from chatpb._cli.failure import at
from chatpb._cli.options import nan_option, output_option, unknown_option
from chatpb._cli.output import open_output, write_line
from chatpb._cli.tally import counted
from chatpb._errors import ConversionError
from chatpb._mapping.schema import enum_words
from chatpb._record import Member, members, split
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRecord,
    ErrorResponse,
)

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored


class What(StrEnum):
    """A part of a record."""

    RESPONSE = "response"
    REQUEST = "request"
    ERROR = "error"
    RECORD = "record"


_FIELDS: Final = sorted(CompletionRecord.DESCRIPTOR.fields, key=lambda field: field.number)
_SINGLE: Final = [
    field for field in _FIELDS if field.message_type is not None and not field.is_repeated
]

_WITH_ARTICLE: Final = {
    What.RESPONSE: "a response",
    What.REQUEST: "a request",
    What.ERROR: "an error",
    What.RECORD: "any part",
}


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes a part of each record as JSON.

    Attributes:
        what: The part.
        chunks: Whether the chunks of a stream are written, rather than the completion they make.
        allow_nan: As for `chatpb.to_json`.
        ignore_unknown: As `ignore_unknown_fields` for `chatpb.to_json`.
    """

    what: What = What.RESPONSE
    chunks: bool = False
    allow_nan: bool = False
    ignore_unknown: bool = False

    def texts(self, data: bytes, place: str) -> Iterator[bytes]:
        """The JSON texts of a record; none if it lacks the part.

        Raises:
            CliError: It cannot be written as JSON.
        """
        try:
            if self.what is What.RECORD:
                yield orjson.dumps(self._record(data))
            elif self.what is What.REQUEST:
                yield from self._each(data, ChatCompletionRequest)
            elif self.what is What.ERROR:
                yield from self._each(data, ErrorResponse)
            else:
                yield from self._each(data, ChatCompletion)
                yield from self._stream(data)
        except ConversionError as error:
            raise at(place, error) from None

    def _each(self, data: bytes, kind: type[Message]) -> Iterator[bytes]:
        for member in members(data):
            if member.type is kind:
                yield self._json(member)

    def _stream(self, data: bytes) -> Iterator[bytes]:
        if self.chunks:
            yield from self._each(data, ChatCompletionChunk)
            return
        chunks = [
            ChatCompletionChunk.FromString(member.data)
            for member in members(data)
            if member.type is ChatCompletionChunk
        ]
        if chunks:
            folded = chatpb.fold(chunks, ignore_unknown_fields=self.ignore_unknown)
            yield chatpb.to_json(folded, allow_nan=self.allow_nan)

    def _json(self, member: Member) -> bytes:
        return member.json(allow_nan=self.allow_nan, ignore_unknown_fields=self.ignore_unknown)

    def _record(self, data: bytes) -> dict[str, Any]:
        """A record as an object whose members are its fields."""
        messages, rest = split(data)
        found: dict[str, Any] = {}
        for message in messages:
            found.setdefault(message.field, []).append(orjson.Fragment(self._json(message)))
        for field, value in rest.ListFields():
            if field.enum_type is not None:
                found[field.name] = enum_words(field.enum_type).words.get(value, value)
            elif field.message_type is None:
                found[field.name] = list(value) if field.is_repeated else value
            elif field.message_type.GetOptions().map_entry:
                found[field.name] = dict(value)
        return {
            field.name: found[field.name][0] if field in _SINGLE else found[field.name]
            for field in _FIELDS
            if field.name in found
        }


_OPTIONS = (
    click.option(
        "--what",
        type=click.Choice([what.value for what in What]),
        default=What.RESPONSE.value,
        show_default=True,
        help="What to print of each record that has it. A record is an object with all its parts.",
    ),
    click.option(
        "--chunks",
        is_flag=True,
        help="Print the chunks of a stream, not the completion they make.",
    ),
    output_option,
    nan_option,
    unknown_option,
)


def printing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that `print_records` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def print_records(
    found: Iterable[Stored],
    output: str,
    what: str,
    chunks: bool,
    allow_nan: bool,
    ignore_unknown: bool,
) -> int:
    """Prints records, and returns how many there were.

    How many lack the part that is printed is reported on standard error.

    Raises:
        CliError: The output cannot be opened, or a record cannot be written as JSON.
    """
    printer = Printer(What(what), chunks, allow_nan, ignore_unknown)
    count = 0
    left_out: Counter[str] = Counter()
    with open_output(output, binary=False) as out:
        for data, place in found:
            count += 1
            is_printed = False
            for text in printer.texts(data, place):
                write_line(out, text)
                is_printed = True
                del text  # each may take most of the memory
            del data
            if not is_printed:
                left_out[f"without {_WITH_ARTICLE[printer.what]} (see --what)"] += 1
    report_left_out(left_out)
    return count


def report_left_out(reasons: Counter[str], noun: str = "record") -> None:
    """Reports how many records were left out, and why, on standard error."""
    if reasons:
        texts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        total = counted(reasons.total(), noun)
        click.echo(f"chatpb: note: {total} left out: {texts}", err=True)
