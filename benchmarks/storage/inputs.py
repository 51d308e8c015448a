"""What is stored: JSON lines made from a fixed seed, and the files that the user names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import inputs
from documents import shortest, text, widened
from storage.traffic import chats, with_logprobs

DECIMALS: Final = "20 OpenAI"
FLOATS: Final = "20 vLLM"
CHATS: Final = "chats"
_CHUNK: Final = "ChatCompletionChunk"
_ID: Final = re.compile(rb'"id": ?"([^"]*)"')
_ENDINGS: Final = (".json", ".jsonl")


@dataclass(frozen=True)
class Source:
    """JSON lines in a file.

    Attributes:
        name: What the tables call them.
        about: What they are.
        path: The file.
        kind: The name of the message type of each line.
        size: Bytes.
        lines: How many there are.
        is_timed: Whether speed is measured too, not only size.
    """

    name: str
    about: str
    path: Path
    kind: str
    size: int
    lines: int
    is_timed: bool = True

    def describe(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self) | {"path": self.path.name}


def records(path: Path, kind: str) -> Iterator[list[bytes]]:
    """The lines that make a record each: one, or, of chunks, those of a stream."""
    with path.open("rb") as file:
        lines = (line.rstrip(b"\n") for line in file)
        if kind == _CHUNK:
            for _, stream in groupby(lines, _id):
                yield list(stream)
        else:
            yield from ([line] for line in lines)


def _id(line: bytes) -> bytes:
    found = _ID.search(line)
    return found[1] if found else b""


@dataclass(frozen=True)
class _Generated:
    name: str
    about: str
    megabytes: int
    documents: Callable[[], Iterator[bytes]]
    is_timed: bool = True


_GENERATED: Final = (
    _Generated(
        DECIMALS,
        "20 alternatives for each token, the shortest decimals of float32",
        32,
        partial(with_logprobs, 20, shortest),
    ),
    _Generated(
        FLOATS,
        "20 alternatives for each token, float32 widened to double",
        32,
        partial(with_logprobs, 20, widened),
    ),
    _Generated(CHATS, "small chats and tool calls without log probabilities", 24, chats),
    _Generated(
        f"{DECIMALS} Zipf",
        "as the first, tokens as frequent as words are",
        32,
        partial(with_logprobs, 20, shortest, is_zipf=True),
        is_timed=False,
    ),
    _Generated(
        f"{FLOATS} Zipf",
        "as the second, tokens as frequent as words are",
        32,
        partial(with_logprobs, 20, widened, is_zipf=True),
        is_timed=False,
    ),
)


def generated(folder: Path, *, share: float) -> Iterator[Source]:
    """The inputs that need no file, written to a folder.

    Args:
        folder: Where they are written.
        share: How much of their usual size they have.
    """
    for each in _GENERATED:
        path = folder / f"{each.name.replace(' ', '-')}.jsonl"
        documents = _until(each.documents(), each.megabytes * 1_000_000 * share)
        size, lines = _write(path, documents)
        yield Source(each.name, each.about, path, "ChatCompletion", size, lines, each.is_timed)


def named(folder: Path, path: Path) -> Source:
    """A file, or the files below a folder, as JSON lines of one kind.

    Raises:
        ValueError: There is something else in it.
        OSError: It cannot be read.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [inputs.of_file(file) for file in files if file == path or file.suffix in _ENDINGS]
    kinds = {each.message_name for each in found}
    if len(kinds) != 1:
        raise ValueError(f"{path}: expected files of one kind of object, got {sorted(kinds)}")
    target = folder / f"named-{path.name}.jsonl"
    size, lines = _write(target, (_line(text) for each in found for text in each.documents))
    return Source(path.name, "named by the user", target, kinds.pop(), size, lines)


def _line(document: bytes) -> bytes:
    document = document.strip()
    return text(json.loads(document)) if b"\n" in document else document


def _until(documents: Iterator[bytes], size: float) -> Iterator[bytes]:
    for document in documents:
        yield document
        size -= len(document)
        if size <= 0:
            return


def _write(path: Path, documents: Iterable[bytes]) -> tuple[int, int]:
    lines = 0
    with path.open("wb") as file:
        for document in documents:
            file.write(document + b"\n")
            lines += 1
        return file.tell(), lines
