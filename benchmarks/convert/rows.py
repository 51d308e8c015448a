"""What a row of the tables is: a name, the work it does, and how it gets ready for an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from convert.inputs import Input


class Work(StrEnum):
    """What is done; each is compared with orjson, reading or writing the same JSON."""

    READ = "JSON to objects"
    TO_BINARY = "JSON to binary"
    WRITE = "objects to JSON"
    FROM_BINARY = "binary to JSON"

    @property
    def reference(self) -> str:
        """The name of the row that has the ratio 1."""
        return "orjson.loads" if self in (Work.READ, Work.TO_BINARY) else "orjson.dumps"

    @property
    def gives_json(self) -> bool:
        """Whether the result is JSON."""
        return self in (Work.WRITE, Work.FROM_BINARY)


@dataclass(frozen=True)
class Task:
    """A function, and what it is called with: one argument for each text of the input."""

    call: Callable[[Any], Any]
    arguments: Sequence[Any]


@dataclass(frozen=True)
class Row:
    """One contender at one kind of work.

    `prepare` raises ImportError where a package is missing, and `NoModelError` where the contender
    has nothing for this kind of input.
    """

    name: str
    work: Work
    prepare: Callable[[Input], Task]


class NoModelError(Exception):
    """The contender has no type for this kind of input."""
