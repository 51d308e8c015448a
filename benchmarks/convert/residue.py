"""What the typed fields cannot hold of recorded traffic, as a table of docs/mapping.md.

For each server: the share of the binary form that residues take, if the schema knew only the
members that OpenAI documents, and as it is.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

from chatpb import json_to_binary, to_dict
from chatpb._cli.reading.input import open_source, walk
from chatpb._cli.reading.sniff import READABLE
from chatpb._errors import ChatpbError
from chatpb._mapping.residue import residue_size
from chatpb._mapping.residue import walk as walk_messages
from chatpb._mapping.schema import mapping_of
from chatpb._mapping.text import dump, parse
from chatpb.v1 import ChatCompletion, ChatCompletionTokenLogprob, Residue, TopLogprob
from common.marks import Marks, markdown

_DOCS: Final = Path(__file__).parents[2] / "docs" / "mapping.md"
_MARKS: Final = Marks("make residue")
_DE_FACTO: Final = 100  # the first number of fields that OpenAI does not document
#: Those that have a smaller one.
_OF_TOKENS: Final = [
    message.DESCRIPTOR.fields_by_name["id"] for message in (ChatCompletionTokenLogprob, TopLogprob)
]


@dataclass
class _Row:
    """The counts of one server."""

    objects: int = 0
    extra: int = 0
    binary: int = 0
    residue: int = 0
    binary_before: int = 0
    residue_before: int = 0

    def add(self, message: Message) -> None:
        """Counts a message, and changes it to what it would be without the de facto fields."""
        size, has_extra = residue_size(message)
        self.objects += 1
        self.extra += has_extra
        self.binary += message.ByteSize()
        self.residue += size
        _forget_fields(message)
        self.binary_before += message.ByteSize()
        self.residue_before += residue_size(message)[0]

    def cells(self, name: str) -> list[str]:
        """The counts as cells of the table."""
        return [
            name,
            f"{self.objects:,}",
            f"{self.residue_before / self.binary_before:.1%}",
            f"{self.residue / self.binary:.1%}",
            f"{self.binary / self.binary_before:.2f}",
            f"{self.extra / self.objects:.1%}",
        ]


def _forget_fields(message: Message) -> None:
    """Moves the members that OpenAI does not document to the residue."""
    for _, part in reversed(list(walk_messages(message))):
        if isinstance(part, Residue) or mapping_of(part).residue is None:
            continue
        mapped = mapping_of(part)
        unknown = {
            name: field
            for name, field in mapped.fields.items()
            if field.number >= _DE_FACTO or field.descriptor in _OF_TOKENS
        }
        members = to_dict(part, allow_nan=True)
        moved = {name: members[name] for name in unknown if name in members}
        shared = [f.alternative for f in mapped.fields.values() if f.alternative]
        moved |= {f.name: members[f.name] for f in mapped.fields.values()
                  if f.alternative and part.HasField(f.alternative)}  # fmt: skip
        if not moved:
            continue
        for name in (*unknown, *shared):
            part.ClearField(name)
        assert mapped.residue is not None
        said = getattr(part, mapped.residue.name)
        numbers = {field.number for field in unknown.values()}
        for listed in (said.null_fields, said.absent_fields, said.empty_fields):
            listed[:] = [number for number in listed if number not in numbers]
        said.extra_json = dump({**(parse(said.extra_json) if said.extra_json else {}), **moved})


def _messages(names: list[str]) -> Iterator[tuple[str, Message]]:
    """The messages of all files, each with the server: the file's name up to its first ``--``."""
    for name in walk(names, READABLE):
        server = Path(name).name.partition("--")[0]
        with open_source(name) as source:
            for record in source.records():
                kind = record.kind(ChatCompletion)
                try:
                    binary = json_to_binary(record.data, kind, allow_nan=True)
                except ChatpbError:
                    continue
                yield server, kind.FromString(binary)


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="recorded traffic, as SERVER--NAME.json or .sse")
    rows: dict[str, _Row] = {}
    total = _Row()
    files: list[str] = parser.parse_args().files
    for server, message in _messages(files):
        copy = type(message).FromString(message.SerializeToString())
        rows.setdefault(server, _Row()).add(message)
        total.add(copy)
    if not rows:
        parser.error(f"no object was found in {', '.join(files)}")
    ordered = sorted(rows.items(), key=lambda item: -item[1].residue_before)
    head = ["objects", "residue before", "residue", "size", "with other members"]
    cells = [row.cells(name) for name, row in itertools.chain(ordered, [("**all**", total)])]
    _DOCS.write_text(_MARKS.fill(_DOCS.read_text(), [markdown("server", head, cells)]))


if __name__ == "__main__":
    main()
