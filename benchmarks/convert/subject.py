"""The rows of chatpb, in the implementation that this process has."""

from __future__ import annotations

import importlib
from typing import Any

import chatpb
import chatpb.v1
from convert.inputs import Input
from convert.rows import Row, Task, Work

IMPLEMENTATION: str = getattr(chatpb, "implementation", "python")


def rows() -> tuple[Row, ...]:
    """The conversions of chatpb."""
    label = f"chatpb {IMPLEMENTATION}"
    return (
        Row(f"{label}: from_json", Work.READ, _from_json),
        Row(f"{label}: json_to_binary", Work.TO_BINARY, _json_to_binary),
        Row(f"{label}: to_json", Work.WRITE, _to_json),
        Row(f"{label}: binary_to_json", Work.FROM_BINARY, _binary_to_json),
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


def _loads(source: Input) -> Task:
    return Task(importlib.import_module("orjson").loads, source.documents)


def _dumps(source: Input) -> Task:
    orjson = importlib.import_module("orjson")
    return Task(orjson.dumps, [orjson.loads(document) for document in source.documents])


def _simdjson(source: Input) -> Task:
    return Task(importlib.import_module("simdjson").Parser().parse, source.documents)
