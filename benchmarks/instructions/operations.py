"""The operations whose instructions are counted: those that run for each call, chunk or record."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, Final

import chatpb
from chatpb.sse import ChunkDecoder
from chatpb.table import from_batch, to_batch
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, CompletionRecord
from common.documents import SENTENCE, completion, logprobs, shortest, stream, text

_CHUNKS: Final = 50
_RECORDS: Final = 20
Call = Callable[[], Any]


@dataclass(frozen=True)
class Operation:
    """Something whose instructions are counted.

    Attributes:
        name: What it works on and what it does, such as ``small:to_json``.
        prepare: Gives what does it once, or `units` times.
        times: How often that is called to be counted: more often if it takes less.
        units: How many operations a call is.
    """

    name: str
    prepare: Callable[[], Call]
    times: int
    units: int = 1


def operations(patterns: Sequence[str]) -> Iterator[Operation]:
    """The operations whose names match one of the patterns; all if there is none."""
    for operation in (*_conversions(), *_streams(), *_tables()):
        if is_chosen(operation.name, patterns):
            yield operation


def is_chosen(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns; it does if there is none."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def peer_of(name: str) -> str:
    """The operation of orjson that does what an operation does; empty if there is none."""
    source, _, verb = name.partition(":")
    does = "dumps" if verb.endswith("to_json") else "loads"
    return f"{source}:orjson.{does}" if verb in _VERBS and not is_peer(name) else ""


def is_peer(name: str) -> bool:
    """Whether an operation is orjson's, to compare with."""
    return ":orjson." in name


def _conversions() -> Iterator[Operation]:
    for source, times in (("small", 300), ("chunk", 300), ("500x20", 1)):
        for verb, prepare in _VERBS.items():
            yield Operation(f"{source}:{verb}", partial(prepare, source), times)


@cache
def _document(source: str) -> tuple[bytes, Any]:
    """A text, and the type of its message."""
    if source == "small":
        return text(completion(SENTENCE)), ChatCompletion
    if source == "chunk":
        return _chunks()[_CHUNKS // 2], ChatCompletionChunk
    return logprobs(500, 20, shortest), ChatCompletion


def _loads(source: str) -> Call:
    return partial(importlib.import_module("orjson").loads, _document(source)[0])


def _dumps(source: str) -> Call:
    return partial(importlib.import_module("orjson").dumps, _loads(source)())


def _json_to_binary(source: str) -> Call:
    return partial(chatpb.json_to_binary, *_document(source))


def _binary_to_json(source: str) -> Call:
    return partial(chatpb.binary_to_json, _json_to_binary(source)(), _document(source)[1])


def _from_json(source: str) -> Call:
    return partial(chatpb.from_json, *_document(source))


def _to_json(source: str) -> Call:
    return partial(chatpb.to_json, _from_json(source)())


def _from_dict(source: str) -> Call:
    return partial(chatpb.from_dict, _loads(source)(), _document(source)[1])


def _to_dict(source: str) -> Call:
    return partial(chatpb.to_dict, _from_json(source)())


_VERBS: Final[dict[str, Callable[[str], Call]]] = {
    "orjson.loads": _loads,
    "from_json": _from_json,
    "json_to_binary": _json_to_binary,
    "from_dict": _from_dict,
    "orjson.dumps": _dumps,
    "to_json": _to_json,
    "binary_to_json": _binary_to_json,
    "to_dict": _to_dict,
}


def _streams() -> Iterator[Operation]:
    """What is done with a stream, counted for each of its chunks."""
    for verb, prepare in (("feed", _feed), ("fold", _fold), ("unfold", _unfold)):
        yield Operation(f"chunk:{verb}", prepare, 1, _CHUNKS)


@cache
def _chunks() -> list[bytes]:
    return list(stream())[:_CHUNKS]


def _feed() -> Call:
    events = [b"data: %b\n\n" % each for each in _chunks()]

    def feed() -> None:
        decoder = ChunkDecoder()
        for event in events:
            decoder.feed(event)

    return feed


def _fold() -> Call:
    return partial(chatpb.fold, [chatpb.from_json(each, ChatCompletionChunk) for each in _chunks()])


def _unfold() -> Call:
    # One chunk for each token.
    whole = chatpb.from_json(logprobs(_CHUNKS - 3, 0, shortest))
    assert len(list(chatpb.unfold(whole))) == _CHUNKS
    return lambda: list(chatpb.unfold(whole))


def _tables() -> Iterator[Operation]:
    """What is done with records, counted for each of them."""
    for verb, prepare in (("to_batch", _to_batch), ("from_batch", _from_batch)):
        yield Operation(f"record:{verb}", prepare, 2, _RECORDS)


@cache
def _records() -> list[bytes]:
    answer = chatpb.from_json(logprobs(20, 5, shortest))
    return [CompletionRecord(completion=answer).SerializeToString()] * _RECORDS


def _to_batch() -> Call:
    return partial(to_batch, _records())


def _from_batch() -> Call:
    return partial(from_batch, to_batch(_records()))
