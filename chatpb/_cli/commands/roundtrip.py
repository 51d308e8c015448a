"""The command ``roundtrip``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

import chatpb
from chatpb._cli.difference import differences, shortened
from chatpb._cli.failure import DATA_ERROR, USAGE_ERROR, CliError, at
from chatpb._cli.options import input_options, kind_option
from chatpb._cli.progress import progress
from chatpb._cli.reading.compressed import Advance
from chatpb._cli.reading.input import Reading, explained, nothing_in, open_source, walk
from chatpb._cli.reading.kinds import Kind, label
from chatpb._cli.reading.sniff import READABLE
from chatpb._cli.reading.source import Record
from chatpb._cli.tally import Tally
from chatpb._errors import ConversionError
from chatpb._mapping.residue import residue_size
from chatpb._mapping.text import dumped_size, parse
from chatpb.v1 import ChatCompletion


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--residue",
    "count_residue",
    is_flag=True,
    help="Count also what the typed fields could not hold: its bytes, and its members by path.",
)
@kind_option
@input_options
def command(
    files: tuple[str, ...],
    count_residue: bool,
    kind: Kind | None,
    reading: Reading,
) -> None:
    """Check that JSON comes back equal from Protobuf.

    Reads responses, chunks, requests and errors, as JSON, JSON lines or server-sent events; of a
    directory, all files below it that end in .json, .jsonl, .ndjson or .sse. Each object goes to
    binary and back. The values must be equal: types, nulls, the order of arrays, integers to the
    last digit.

    \b
      chatpb roundtrip recordings/
      chatpb roundtrip --residue response.json stream.sse

    Prints each difference with its place and path, and for each kind of object how many came back
    equal, the bytes of the JSON without white space and those in Protobuf. Exit code 1 if an object
    differs or cannot be read, or there is none.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    names = list(walk(files, READABLE))
    if not names:
        raise CliError(nothing_in(files), USAGE_ERROR)
    tally = Tally()
    with progress(names) as advance:
        for name in names:
            for record in _records(name, reading, advance, tally):
                found = kind or record.kind(ChatCompletion)
                given = [record]
                del record
                _check(given, found, tally, reading.allow_nan, count_residue)
    click.echo(tally.table(count_residue))
    if not tally.unread and not tally.kinds:
        raise CliError(f"{', '.join(files)}: no object to check")
    if tally.is_bad:
        click.get_current_context().exit(DATA_ERROR)


def _check(
    given: list[Record], kind: Kind, tally: Tally, allow_nan: bool, count_residue: bool
) -> None:
    """Checks a record, which is taken out: it may take most of the memory."""
    record = given.pop()
    place = record.place
    try:
        if record.source.is_binary:
            raise ConversionError("binary, but expected JSON")
        expected, json_size = _read(record.data, allow_nan)
        binary = chatpb.json_to_binary(record.data, kind, allow_nan=allow_nan)
    except ConversionError as error:
        _report(tally, explained(record, error).text)
        return
    del record
    size = len(binary)
    message = kind.FromString(binary) if count_residue else None
    forms = [binary]
    del binary
    try:
        forms.append(chatpb.binary_to_json(forms[0], kind, allow_nan=allow_nan))
        del forms[0]
        got, _ = _read(forms.pop(), allow_nan)
    except ConversionError as error:
        _report(tally, at(place, error).text)
        return
    equal = True
    for difference in differences(expected, got):
        equal = False
        click.echo(f"{place} {difference}")
    row = tally.kinds[label(kind)]
    row.add(equal, json_size, size)
    if message is not None:
        members = chatpb.residue(message)
        row.add_residue(*residue_size(message), not members)
        tally.add_residue(members)


def _read(data: bytes, allow_nan: bool) -> tuple[Any, int]:
    """A JSON text as a tree with short texts, and its size without white space."""
    tree = parse(data, allow_nan=allow_nan)
    return shortened(tree), dumped_size(tree)


def _report(tally: Tally, failure: str) -> None:
    tally.unread += 1
    click.echo(failure.replace("\n", " "))


def _records(name: str, reading: Reading, advance: Advance, tally: Tally) -> Iterator[Record]:
    """The records of a file, up to its end or the first that cannot be read."""
    try:
        with open_source(name, reading, advance) as source:
            yield from source.records()
    except CliError as failure:
        _report(tally, failure.text)
