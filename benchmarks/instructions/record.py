"""The counts on record, and the words in the changelog that let them grow."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RECORD: Final = Path(__file__).with_name("counts.json")
#: What a count may be in relation to the one on record.
GROWTH: Final = 1.1
_WORD: Final = re.compile(r"`([\w.:]+)` takes ([\d,]+) instructions")


@dataclass(frozen=True)
class Record:
    """Counts, and what decided about them other than the code.

    Attributes:
        environment: What `count.environment` gave.
        instructions: The counts, by operation.
    """

    environment: Mapping[str, str]
    instructions: Mapping[str, int]

    @classmethod
    def read(cls, text: str) -> Record:
        """What `text` wrote."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """The record as JSON, an operation in a line."""
        return json.dumps(asdict(self), indent=1) + "\n"


def words(changelog: str) -> dict[str, int]:
    """What the changelog says of operations under "Unreleased", in the form of `word`."""
    _, _, rest = changelog.partition("\n## [Unreleased]\n")
    section, _, _ = rest.partition("\n## [")
    return {name: int(count.replace(",", "")) for name, count in _WORD.findall(section)}


def word(name: str, count: int) -> str:
    """What the changelog has to say where an operation has grown."""
    return f"`{name}` takes {count:,} instructions"


def grown(
    counts: Mapping[str, int], recorded: Mapping[str, int], said: Mapping[str, int]
) -> Iterator[str]:
    """The operations that take more than they may, in words.

    An operation may take 10 % more than the record, or than the changelog says.
    """
    for name, count in counts.items():
        if name not in recorded:
            yield f"{name} is not on record: `make bench-instructions ARGS=--record`"
        elif count > GROWTH * max(recorded[name], said.get(name, 0)):
            yield (
                f"{name} takes {count / recorded[name]:.2f} times as many instructions as on"
                f" record: make it faster, or give the reason in a line of CHANGELOG.md, under"
                f' "Unreleased", that has the words "{word(name, count)}"'
            )


def uncounted(counts: Mapping[str, int], recorded: Mapping[str, int]) -> Iterator[str]:
    """The operations on record that were not counted, in words: nothing limits these."""
    for name in recorded.keys() - counts.keys():
        yield f"{name} is on record, but was not counted: `make bench-instructions ARGS=--record`"


def renewed(
    counts: Mapping[str, int], recorded: Mapping[str, int], said: Mapping[str, int]
) -> dict[str, int]:
    """The next record: it falls with the counts, and rises only where the changelog says so."""
    return {
        name: count if name in said or name not in recorded else min(count, recorded[name])
        for name, count in counts.items()
    }


def released() -> Record | None:
    """The record of the last release, or the first there was; None if git does not have it."""
    path = RECORD.relative_to(ROOT).as_posix()
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*")
    first = _git("log", "--diff-filter=A", "--format=%H", "--", path)
    for commit in (tag, first):
        if text := commit and _git("show", f"{commit.split()[-1]}:{path}"):
            return Record.read(text)
    return None


def _git(*arguments: str) -> str:
    try:
        process = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True
        )
    except FileNotFoundError:
        return ""
    return process.stdout.strip() if not process.returncode else ""
