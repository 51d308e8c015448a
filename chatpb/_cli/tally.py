"""What a round trip counts, and the tables that show it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatpb import ResidueMember

_INDEX: Final = re.compile(r"\[\d+\]")


@dataclass
class Row:
    """The counts of one kind.

    Attributes:
        objects: How many were read.
        equal: How many came back equal.
        json: The bytes of their JSON without white space.
        protobuf: The bytes of their messages.
        clean: How many have no residue, if that was counted.
        extra: How many have a member that the typed fields could not hold.
        residue: The bytes of the residues.
    """

    objects: int = 0
    equal: int = 0
    json: int = 0
    protobuf: int = 0
    clean: int = 0
    extra: int = 0
    residue: int = 0

    def add(self, equal: bool, json: int, protobuf: int) -> None:
        """Counts an object."""
        self.objects += 1
        self.equal += equal
        self.json += json
        self.protobuf += protobuf

    def add_residue(self, size: int, has_extra: bool, is_clean: bool) -> None:
        """Counts the residues of an object."""
        self.residue += size
        self.extra += has_extra
        self.clean += is_clean

    def cells(self, name: str, with_residue: bool) -> list[str]:
        """The counts as cells of the table."""
        counts = [self.objects, self.equal, self.json, self.protobuf]
        cells = [name, *(f"{count:,}" for count in counts), share(self.protobuf, self.json)]
        if with_residue:
            cells += [f"{self.clean:,}", f"{self.extra:,}", share(self.residue, self.protobuf)]
        return cells


@dataclass
class Tally:
    """All counts.

    Attributes:
        kinds: The counts of each kind.
        unread: How many objects or files could not be read.
        residue: How often each path and state occurs in a residue.
    """

    kinds: defaultdict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    unread: int = 0
    residue: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def is_bad(self) -> bool:
        """Whether anything differed or could not be read."""
        return bool(self.unread) or any(row.equal < row.objects for row in self.kinds.values())

    def add_residue(self, members: Iterable[ResidueMember]) -> None:
        """Counts the members of residues; elements of an array count together."""
        self.residue.update((_INDEX.sub("[]", member.path), member.state) for member in members)

    def table(self, with_residue: bool) -> str:
        """The counts as text."""
        total = Row()
        for row in self.kinds.values():
            for name in vars(row):
                setattr(total, name, getattr(total, name) + getattr(row, name))
        head = ["kind", "objects", "equal", "JSON bytes", "protobuf bytes", "ratio"]
        rows = [head + (["no residue", "extra members", "residue"] if with_residue else [])]
        rows += [self.kinds[name].cells(name, with_residue) for name in sorted(self.kinds)]
        rows.append(total.cells("total", with_residue))
        text = columns(rows, left=(0,))
        if self.unread:
            text += f"\n{self.unread:,} could not be read"
        if self.residue:
            found = sorted(self.residue.items(), key=lambda item: (-item[1], item[0]))
            counts = [[f"{count:,}", state, path] for (path, state), count in found]
            text += "\n\n" + columns([["count", "state", "path"], *counts], left=(1, 2))
        return text


def columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Rows as lines of columns, aligned to the right except the columns `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    """A part as a percentage."""
    return f"{part / whole:.1%}" if whole else "-"


def counted(count: int, noun: str) -> str:
    """A number with what it counts, such as ``1 file`` or ``1,024 files``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
