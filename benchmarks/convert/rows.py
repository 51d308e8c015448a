"""What a row of the tables is: a name, the work it does, and how it gets ready for an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from convert.inputs import Input


class Work(StrEnum):
    """What is done.

    It is compared with orjson, reading or writing the same JSON; if it begins or ends with a dict,
    with the same by way of JSON text.
    """

    READ = "JSON to objects"
    TO_BINARY = "JSON to binary"
    READ_BINARY = "binary to objects"
    WRITE = "objects to JSON"
    FROM_BINARY = "binary to JSON"
    READ_LINES = "JSON lines to binary"
    WRITE_LINES = "binary to JSON lines"
    FROM_DICT = "dict to objects"
    TO_DICT = "objects to dict"

    @property
    def reference(self) -> str:
        """The name of the row that has the ratio 1."""
        if self in (Work.WRITE, Work.FROM_BINARY, Work.WRITE_LINES):
            return "orjson.dumps"
        return {
            Work.FROM_DICT: "orjson.dumps, from_json",
            Work.TO_DICT: "to_json, orjson.loads",
        }.get(self, "orjson.loads")

    @property
    def gives_json(self) -> bool:
        """Whether the result is JSON."""
        return self in (Work.WRITE, Work.FROM_BINARY)

    @property
    def is_of_lines(self) -> bool:
        """Whether many documents are given at once."""
        return self in (Work.READ_LINES, Work.WRITE_LINES)

    @property
    def is_of_dicts(self) -> bool:
        """Whether it begins or ends with a dict."""
        return self in (Work.FROM_DICT, Work.TO_DICT)


@dataclass(frozen=True)
class Task:
    """A function, and what it is called with: an argument for each text, or one for all."""

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
