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

from common.documents import shortest, text, widened
from convert import inputs
from storage.exchanges import AT_ONCE, answers
from storage.exchanges import lines as exchange_lines
from storage.traffic import chats, with_logprobs

DECIMALS: Final = "20 OpenAI"
FLOATS: Final = "20 vLLM"
CHATS: Final = "small chats"
EXCHANGES: Final = "exchanges"
ANSWERS: Final = "answers"
#: How many conversations go on at once in other exchanges, of which only the sizes are measured.
OTHERS_AT_ONCE: Final = (300, 4_000)
#: The kind of lines that are objects with a request and a response.
EXCHANGE: Final = "Exchange"
CHUNK: Final = "ChatCompletionChunk"
_ID: Final = re.compile(rb'"id": ?"([^"]*)"')


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
        if kind == CHUNK:
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
    _Generated(
        CHATS,
        "answers of some 130 characters and tool calls, without log probabilities",
        72,
        partial(chats, 100, 0.75),
    ),
    _Generated(
        "long chats",
        "the same with some 500 characters",
        24,
        partial(chats, 270, 1.1),
        is_timed=False,
    ),
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
    about = f"{AT_ONCE:,} conversations at once with tools, errors and shared prompts"
    yield _conversations(folder, EXCHANGES, f"{about}, requests and responses", EXCHANGE, share)
    yield _conversations(folder, ANSWERS, "their answers alone", "ChatCompletion", share)
    for count in OTHERS_AT_ONCE:
        path = folder / f"exchanges-{count}.jsonl"
        size, number = _write(path, exchange_lines(share, count))
        said = f"exchanges of {count:,} conversations at once"
        name = f"{count:,} at once"
        yield Source(name, said, path, EXCHANGE, size, number, is_timed=False)


def _conversations(folder: Path, name: str, about: str, kind: str, share: float) -> Source:
    path = folder / f"{name}.jsonl"
    size, count = _write(path, (exchange_lines if kind == EXCHANGE else answers)(share))
    return Source(name, about, path, kind, size, count)


def named(folder: Path, path: Path) -> Iterator[Source]:
    """A file, or the files below a folder, as JSON lines: those of each kind of object together.

    In a folder, what is something else is left out.

    Raises:
        ValueError: There is nothing that can be measured.
        OSError: It cannot be read.
    """
    for found in inputs.of_files(path):
        target = folder / f"named-{found.name.replace(' ', '-')}.jsonl"
        size, lines = _write(target, map(_line, found.documents))
        about = f"{found.message_name}, {found.about}"
        yield Source(found.name, about, target, found.message_name, size, lines)


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
