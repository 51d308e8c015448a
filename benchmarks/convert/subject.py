"""The rows of chatpb, in the implementation that this process has."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import chatpb
import chatpb.v1
from convert.inputs import Input
from convert.rows import NoModelError, Row, Task, Work

IMPLEMENTATION: str = getattr(chatpb, "implementation", "python")


def rows() -> tuple[Row, ...]:
    """The conversions of chatpb."""
    label = f"chatpb {IMPLEMENTATION}"
    read_lines, write_lines = f"{label}: json_lines_to_binary", f"{label}: binaries_to_json_lines"
    return (
        Row(f"{label}: from_json", Work.READ, _from_json),
        Row(f"{label}: json_to_binary", Work.TO_BINARY, _json_to_binary),
        Row(f"{label}: to_json", Work.WRITE, _to_json),
        Row(f"{label}: binary_to_json", Work.FROM_BINARY, _binary_to_json),
        Row(read_lines, Work.READ_LINES, partial(_read_lines, threads=None)),
        Row(f"{read_lines}, one thread", Work.READ_LINES, partial(_read_lines, threads=1)),
        Row(write_lines, Work.WRITE_LINES, partial(_write_lines, threads=None)),
        Row(f"{write_lines}, one thread", Work.WRITE_LINES, partial(_write_lines, threads=1)),
        Row(Work.FROM_DICT.reference, Work.FROM_DICT, _from_dict_by_text),
        Row(f"{label}: from_dict", Work.FROM_DICT, _from_dict),
        Row(Work.TO_DICT.reference, Work.TO_DICT, _to_dict_by_text),
        Row(f"{label}: to_dict", Work.TO_DICT, _to_dict),
    )


def references() -> tuple[Row, ...]:
    """The rows that the ratios divide by. They run in the process of every contender."""
    return (
        Row("orjson.loads", Work.READ, _loads),
        Row("orjson.dumps", Work.WRITE, _dumps),
        Row("simdjson: parse, no objects", Work.READ, _simdjson),
    )


def binary(source: Input) -> list[bytes]:
    """The binary form of each text."""
    convert = _json_to_binary(source).call
    return [convert(document) for document in source.documents]


def _message_type(source: Input) -> Any:
    return getattr(chatpb.v1, source.message_name)


def _from_json(source: Input) -> Task:
    message_type = _message_type(source)
    return Task(lambda text: chatpb.from_json(text, message_type), source.documents)


def _json_to_binary(source: Input) -> Task:
    message_type = _message_type(source)
    return Task(lambda text: chatpb.json_to_binary(text, message_type), source.documents)


def _to_json(source: Input) -> Task:
    read = _from_json(source).call
    return Task(chatpb.to_json, [read(document) for document in source.documents])


def _binary_to_json(source: Input) -> Task:
    message_type = _message_type(source)
    return Task(lambda data: chatpb.binary_to_json(data, message_type), binary(source))


def _read_lines(source: Input, threads: int | None) -> Task:
    message_type = _message_type(source)

    def read(lines: Any) -> None:
        _take(chatpb.json_lines_to_binary(lines, message_type, threads=threads))

    return Task(read, _together(source.documents))


def _write_lines(source: Input, threads: int | None) -> Task:
    message_type = _message_type(source)

    def write(binaries: Any) -> None:
        _take(chatpb.binaries_to_json_lines(binaries, message_type, threads=threads))

    return Task(write, _together(binary(source)))


_take = deque[bytes](maxlen=0).extend


def _together(documents: Sequence[bytes]) -> list[list[bytes]]:
    if len(documents) < 2:
        raise NoModelError
    return [list(documents)]


def _from_dict(source: Input) -> Task:
    message_type = _message_type(source)
    return Task(lambda members: chatpb.from_dict(members, message_type), _dicts(source))


def _from_dict_by_text(source: Input) -> Task:
    message_type, dumps = _message_type(source), importlib.import_module("orjson").dumps
    return Task(lambda members: chatpb.from_json(dumps(members), message_type), _dicts(source))


def _to_dict(source: Input) -> Task:
    return Task(chatpb.to_dict, _to_json(source).arguments)


def _to_dict_by_text(source: Input) -> Task:
    loads = importlib.import_module("orjson").loads
    return Task(lambda message: loads(chatpb.to_json(message)), _to_json(source).arguments)


def _dicts(source: Input) -> Sequence[Any]:
    return _dumps(source).arguments


def _loads(source: Input) -> Task:
    return Task(importlib.import_module("orjson").loads, source.documents)


def _dumps(source: Input) -> Task:
    orjson = importlib.import_module("orjson")
    return Task(orjson.dumps, [orjson.loads(document) for document in source.documents])


def _simdjson(source: Input) -> Task:
    return Task(importlib.import_module("simdjson").Parser().parse, source.documents)
