"""The command ``to-binary``."""

from __future__ import annotations

import click
from google.protobuf.message import DecodeError

import chatpb
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.options import (
    files_argument,
    input_options,
    kind_option,
    output_option,
)
from chatpb._cli.output import open_output
from chatpb._cli.progress import progress
from chatpb._cli.reading.input import Reading, explained, read_all, some
from chatpb._cli.reading.kinds import Kind, label
from chatpb._cli.reading.source import Record
from chatpb._errors import ConversionError
from chatpb._wire import delimited
from chatpb.v1 import ChatCompletion


@click.command()
@files_argument
@output_option
@click.option(
    "--delimited/--bare",
    "-d",
    "many",
    default=None,
    help="Write each message after its length, or one message as it is. Default: as it is if there"
    " is one file with one message, else each after its length.",
)
@kind_option
@input_options
def command(
    files: tuple[str, ...],
    output: str,
    many: bool | None,
    kind: Kind | None,
    reading: Reading,
) -> None:
    """Write messages in Protobuf's binary form.

    Reads JSON, JSON lines, server-sent events or binary, from files or standard input. All messages
    of a binary stream have one type: that of the first message, or --type. Later messages of
    another kind are kept whole in that type.

    \b
      chatpb to-binary response.json -o response.binpb
      chatpb to-binary responses.jsonl > responses.delimited
      curl -N ... | chatpb to-binary > chunks.delimited

    Messages before an error are written. Exit code 1 if there is an error.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    names = files or ("-",)
    types = _OneType(kind)
    with (
        open_output(output, names, binary=True) as out,
        progress(names, output=output) as advance,
    ):
        for count, record in enumerate(some(read_all(names, reading, advance), names)):
            if many is None:
                many = len(names) > 1 or record.source.holds_many
            if count and not many:
                raise CliError("several messages need --delimited", USAGE_ERROR)
            data = _binary(record, types.of(record), reading.allow_nan)
            out.write(delimited(data) if many else data)
            if record.source.is_live:
                out.flush()


class _OneType:
    """The one type of a binary stream, which does not name the type of its messages."""

    def __init__(self, kind: Kind | None) -> None:
        self._kind = kind
        self._settled = kind is not None

    def of(self, record: Record) -> Kind:
        """The type that a record is written as: --type, or the type of the first record."""
        if self._kind is not None and self._settled:
            return self._kind
        found = record.kind(ChatCompletion)
        if self._kind is None:
            self._kind = found
        elif found is not self._kind:
            self._settled = True
            note = f"looks like a {label(found)}, kept whole as a {label(self._kind)}"
            click.echo(f"chatpb: note: {record.place}: {note}", err=True)
        return self._kind


def _binary(record: Record, kind: Kind, allow_nan: bool) -> bytes:
    try:
        if not record.source.is_binary:
            return chatpb.json_to_binary(record.data, kind, allow_nan=allow_nan)
        kind.FromString(record.data)
    except ConversionError as error:
        raise explained(record, error) from None
    except DecodeError:
        reason = f"not the binary form of a {kind.DESCRIPTOR.full_name}"
        raise explained(record, ConversionError(reason)) from None
    return record.data
