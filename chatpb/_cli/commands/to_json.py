"""The command ``to-json``."""

from __future__ import annotations

import click

import chatpb
from chatpb._cli.options import (
    delimited_option,
    files_argument,
    input_options,
    kind_option,
    output_option,
    unknown_option,
)
from chatpb._cli.output import open_output
from chatpb._cli.progress import progress
from chatpb._cli.reading.input import Reading, explained, read_all, some
from chatpb._cli.reading.kinds import Kind
from chatpb._errors import ConversionError
from chatpb.v1 import ChatCompletion


@click.command()
@files_argument
@output_option
@kind_option
@delimited_option
@unknown_option
@input_options
def command(
    files: tuple[str, ...],
    output: str,
    kind: Kind | None,
    ignore_unknown: bool,
    reading: Reading,
) -> None:
    """Write messages as OpenAI's JSON, one on each line.

    Reads binary, JSON, JSON lines or server-sent events, from files or standard input. Binary does
    not name its type: pass --type unless it is a completion, and -d for a stream of
    length-delimited messages.

    \b
      chatpb to-json response.binpb
      chatpb to-json -d --type chunk chunks.delimited -o chunks.jsonl
      chatpb to-json stream.sse | jq .choices

    Messages before an error are written. Exit code 1 if there is an error.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    names = files or ("-",)
    with (
        open_output(output, names, binary=False) as out,
        progress(names, output=output) as advance,
    ):
        for record in some(read_all(names, reading, advance), names):
            found = kind or record.kind(ChatCompletion)
            data = record.data
            try:
                if not record.source.is_binary:
                    data = chatpb.json_to_binary(data, found, allow_nan=reading.allow_nan)
                text = chatpb.binary_to_json(
                    data,
                    found,
                    allow_nan=reading.allow_nan,
                    ignore_unknown_fields=ignore_unknown,
                )
            except ConversionError as error:
                raise explained(record, error) from None
            out.write(text + b"\n")
            if record.source.is_live:
                out.flush()
