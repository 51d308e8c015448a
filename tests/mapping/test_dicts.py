"""Dicts to messages and back: both implementations, and what JSON text in between would give."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb import ConversionError
from chatpb._mapping import convert, fault, text
from chatpb._mapping.schema import mapping_of
from chatpb.v1 import ChatCompletion, ChatCompletionTokenLogprob
from support.golden_files import vectors
from support.strategies import MIRRORS, json_objects, messages

kinds = pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)


class _Word(str, enum.Enum):  # noqa: UP042 (a StrEnum prints its word)
    STOP = "stop"


class _Count(int):
    pass


class _Pair(NamedTuple):
    one: int
    two: int


@contextmanager
def _reference() -> Iterator[None]:
    """Takes the native implementation away for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "dicts", None)
        for module in (convert, fault, text):
            patch.setattr(module, "transcoder", None)
        yield


def _outcome(function: Any, *args: Any, **options: Any) -> Any:
    """The result, with the types of all values in it; or the type and the parts of the error."""
    try:
        result = function(*args, **options)
    except (ConversionError, TypeError, AttributeError) as error:
        return type(error), str(error)
    if isinstance(result, Message):
        return result.SerializeToString(deterministic=True)
    return repr(result)  # 1, 1.0 and True differ, as do 0.0 and -0.0, and the order of members


def _same(function: Any, *args: Any, **options: Any) -> Any:
    """What both implementations give."""
    found = _outcome(function, *args, **options)
    with _reference():
        assert _outcome(function, *args, **options) == found
    return found


@kinds
@given(data=st.data())
def test_dicts_of_every_type(kind: type[Message], data: st.DataObject) -> None:
    members = data.draw(json_objects(mapping_of(kind)))
    binary = _same(chatpb.from_dict, members, kind)
    if isinstance(binary, bytes):
        assert members == chatpb.to_dict(kind.FromString(binary))


@kinds
@given(data=st.data())
def test_messages_of_every_type(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    for options in ({}, {"allow_nan": True}, {"ignore_unknown_fields": True}):
        _same(chatpb.to_dict, message, **options)


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_vectors(vector: Any) -> None:
    message = vector.message_type.FromString(vector.binary)
    expected = repr(json.loads(chatpb.to_json(message)))
    assert expected == _same(chatpb.to_dict, message)
    members = json.loads(vector.json)
    read = _same(chatpb.from_dict, members, vector.message_type)
    if isinstance(read, bytes):  # 1e400 is infinite
        assert members == chatpb.to_dict(vector.message_type.FromString(read))


VALUES: list[Any] = [
    *(2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19, 10**400),
    *(True, None, 0, -1, 0.0, -0.0, 1.5, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308),
    *('\x00\x1f"\\/\x7f', "é\u2028😀", "\ud800", "\ude00\ud83d", "a" * 30, "1" * 30),
    *([], {}, (), (1, (2,)), {"": {"\ud800": 1}}, [[[]], {"a": []}]),
    *(OrderedDict(a=1), MappingProxyType({"a": 1}), _Word.STOP, _Count(3), _Pair(1, 2)),
    *(math.nan, math.inf, -math.inf, b"a", {1: 2}, {None: 1}, {1, 2}, object, 1j),
    *(UUID(int=1), {"a": [1, {"b": b""}]}, [[math.nan]], bytearray(b"x")),
]


def test_values() -> None:
    for value in VALUES:
        for members in (
            {"x": value},
            {"id": value},
            {"created": value},
            {"choices": [{"index": value, "finish_reason": value, "message": {"content": value}}]},
        ):
            for allow_nan in (False, True):
                binary = _same(chatpb.from_dict, members, ChatCompletion, allow_nan=allow_nan)
                if isinstance(binary, bytes):
                    _same(chatpb.to_dict, ChatCompletion.FromString(binary), allow_nan=allow_nan)


def test_doubles() -> None:
    for logprob in (1, -1.5, True, math.nan, 10**400, 2**53 + 1, "1", 1e308):
        members = {"token": "a", "logprob": logprob, "bytes": [97]}
        _same(chatpb.from_dict, members, ChatCompletionTokenLogprob, allow_nan=True)


def test_numbers_in_residues() -> None:
    for extra in (
        *("1e400", "-0", "-0.0", "1E5", "NaN", '"\\ud800"', "0." + "1" * 30),
        *("9" * 18, "9" * 19, "-" + "9" * 19, "9" * 20, "9" * 5000),
    ):
        message = ChatCompletion()
        message.residue.extra_json = f'{{"x":[{extra}]}}'
        for allow_nan in (False, True):
            _same(chatpb.to_dict, message, allow_nan=allow_nan)


def test_depth() -> None:
    nested: Any = 1
    for depth in range(1, 205):
        nested = {"x": nested} if depth % 2 else [nested]
        if depth in (199, 201, 203):
            found = _same(chatpb.from_dict, nested)
            assert isinstance(found, bytes) == (depth <= 200), depth


def test_values_that_contain_themselves() -> None:
    members: dict[str, Any] = {}
    members |= {"a": members, "b": [members]}
    error, reason = _same(chatpb.from_dict, members)
    assert error is ConversionError
    assert reason.endswith("nested deeper than 200 levels")


def test_messages_that_are_refused() -> None:
    unknown = ChatCompletion.FromString(b"\xfa\x3f\x01a")
    for options in ({}, {"ignore_unknown_fields": True}):
        _same(chatpb.to_dict, unknown, **options)
    raw = ChatCompletion()
    raw.residue.extra_json = "[]"
    assert ConversionError is _same(chatpb.to_dict, raw)[0]


def test_what_is_no_object() -> None:
    for members in (None, [], "{}", b"{}", 1, [("id", "a")], object()):
        assert ConversionError is _same(chatpb.from_dict, members)[0]


def test_long_text_is_read() -> None:
    members = {"id": "é" * 100_000, "x": ["\n" * 100_000]}
    assert members == chatpb.to_dict(chatpb.from_dict(members))
