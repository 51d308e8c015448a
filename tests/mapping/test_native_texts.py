"""The native implementation reads or refuses texts itself that ordinary servers do not send."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

import chatpb
from chatpb import ConversionError
from chatpb._mapping import fault, reference, text
from chatpb._mapping.native import transcoder
from chatpb._mapping.schema import mapping_of
from chatpb.sse import ChunkDecoder
from chatpb.v1 import ChatCompletion, ChatCompletionChunk
from mapping import fuzz
from mapping.fuzz import BINARY, JSON, Case
from support.strategies import MIRRORS, json_objects

if transcoder is None:
    pytest.skip("the native implementation was not built", allow_module_level=True)


class _Writer:
    """Writes JSON values as texts, with repeated members and numbers that are not finite."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def rare(self) -> bool:
        return self.draw(st.integers(0, 7)) == 0

    def text(self, value: Any) -> str:
        if isinstance(value, dict):
            members = [f"{json.dumps(name)}:{self.text(item)}" for name, item in value.items()]
            for name, item in value.items():
                if self.rare():
                    members.append(f" {json.dumps(name)} : {self.text(item)}")
                if self.rare():
                    members.insert(0, f"{json.dumps(name)}:{self.text([item])}")
            return "{" + ",".join(members) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self.text, value)) + "]"
        if type(value) is float and self.rare():
            return self.draw(st.sampled_from(["NaN", "Infinity", "-Infinity"]))
        return json.dumps(value)


@st.composite
def _texts(draw: st.DrawFn, kind: type[Message]) -> bytes:
    return _Writer(draw).text(draw(json_objects(mapping_of(kind)))).encode()


@settings(max_examples=60)
@given(kind=st.sampled_from(MIRRORS), data=st.data())
def test_repeated_members_and_constants(kind: type[Message], data: st.DataObject) -> None:
    case = Case(JSON, kind, data.draw(_texts(kind)))
    assert fuzz.difference(case) is None
    binary = fuzz.native(case, fuzz.Options(allow_nan=True))
    assert isinstance(binary, bytes)
    back = Case(BINARY, kind, binary)
    assert isinstance(fuzz.native(back, fuzz.Options(allow_nan=True)), bytes)
    assert fuzz.difference(back) is None


@given(data=st.data())
def test_free_text_of_others(data: st.DataObject) -> None:
    """A program may put any JSON text into a message, also one with repeated members."""
    extra = data.draw(_texts(ChatCompletion)).decode()
    message = ChatCompletion(id="a", model="")
    message.residue.extra_json = data.draw(st.sampled_from(["", "\ufeff", " "])) + extra
    case = Case(BINARY, ChatCompletion, message.SerializeToString())
    assert fuzz.difference(case) is None


def _token(member: bytes) -> bytes:
    return b'{"index":0,"logprobs":{"content":[{"token":"a","logprob":-1.5,%s}]}}' % member


def _completion(member: bytes, count: int) -> bytes:
    return b'{"id":"a","choices":[' + b",".join([_token(member)] * count) + b"]}"


_READ = [
    pytest.param(b'"x":1,"logprob":-2.5', id="a member twice"),
    pytest.param(b'"x":{"a":1,"a":2}', id="a member twice in free JSON"),
    pytest.param(b'"x":NaN', id="NaN"),
    pytest.param(b'"x":[-Infinity],"logprob":NaN', id="a member twice, and NaN"),
    pytest.param(b'"y":1,"top_logprobs":{"bytes":300}', id="a member that does not fit"),
    pytest.param(b'"x":1%s' % (b"0" * 100), id="a long integer"),
]
_REFUSED = [
    pytest.param(lambda text: text[:-1], id="cut"),
    pytest.param(lambda text: text[:-1] + b"x", id="an error in the last byte"),
    pytest.param(lambda text: text + b"\xff", id="not UTF-8 at the end"),
    pytest.param(lambda text: text[:-1] + b',"x":NaN}', id="NaN at the end"),
    pytest.param(lambda text: text[:-1] + b',"id":"\\q"}', id="an escape at the end"),
    pytest.param(lambda text: b'{"x":"' + b"x" * len(text), id="a string without an end"),
    pytest.param(lambda text: b'{"x":"' + b"\\n" * len(text), id="escapes without an end"),
    pytest.param(lambda text: b"[" * len(text), id="brackets"),
    pytest.param(lambda text: b" " * len(text), id="white space"),
    pytest.param(lambda text: b"1" * len(text), id="a number"),
    pytest.param(lambda text: b'"' + b"x" * len(text) + b'"', id="a string"),
]


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails what asks the reference, or any parser in Python."""

    def fail(*_: object, **__: object) -> Any:
        raise AssertionError("the reference is asked")

    for module, names in {
        reference: ["read", "write", "read_fast", "read_exact"],
        fault: ["scan", "_Scanner"],
        text: ["_decode"],
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, fail)


@pytest.mark.usefixtures("lonely")
@pytest.mark.parametrize("member", _READ)
def test_the_reference_is_not_asked_to_convert(member: bytes) -> None:
    data = _completion(member, 3)
    binary = chatpb.json_to_binary(data, allow_nan=True)
    message = chatpb.from_json(data, allow_nan=True)
    assert message == ChatCompletion.FromString(binary)
    assert chatpb.binary_to_json(binary, allow_nan=True) == chatpb.to_json(message, allow_nan=True)

    decoder = ChunkDecoder(allow_nan=True)
    chunks = decoder.feed(b"data: " + data + b"\n\n")
    assert chunks == [chatpb.json_to_binary(data, ChatCompletionChunk, allow_nan=True)]


@pytest.mark.usefixtures("lonely")
@pytest.mark.parametrize("spoil", _REFUSED)
def test_the_reference_is_not_asked_to_refuse(spoil: Callable[[bytes], bytes]) -> None:
    for convert_text in (chatpb.json_to_binary, chatpb.from_json, _decode):
        with pytest.raises(ConversionError):
            convert_text(spoil(_completion(b'"x":1', 3)))


def _decode(data: bytes) -> object:
    decoder = ChunkDecoder()
    return decoder.feed(b"data: " + (data.strip() or b"}") + b"\n\n")


def _calls(data: bytes) -> int:
    """How many functions are called to convert or to refuse a text."""
    count = 0

    def count_call(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        # Also functions in C that ours call, but not what others do when memory is collected.
        count += frame.f_globals["__name__"].startswith("chatpb.") and event.endswith("call")

    sys.setprofile(count_call)
    try:
        chatpb.json_to_binary(data)
    except ConversionError:
        pass
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("spoil", [*_REFUSED, pytest.param(lambda text: text, id="whole")])
@pytest.mark.parametrize("member", [b'"x":1', b'"x":1,"x":{"a":1,"a":2}'])
def test_python_does_as_much_for_long_texts_as_for_short_ones(
    spoil: Callable[[bytes], bytes], member: bytes
) -> None:
    _calls(spoil(_completion(member, 3)))  # what is done once only
    short, long = (_calls(spoil(_completion(member, count))) for count in (300, 3_000))
    assert long < 2 * short  # not 10 times; a garbage collection may add a few


@pytest.mark.parametrize("levels", [200, 300, 2_000])
@pytest.mark.parametrize(
    "member", [b'"x":%s,"x":1', b'"x":%s,"x":NaN', b'"choices":%s,"choices":[]']
)
def test_what_is_replaced_may_not_be_too_deep(levels: int, member: bytes) -> None:
    nested = b"[" * (levels - 1) + b"]" * (levels - 1)
    case = Case(JSON, ChatCompletion, b"{" + member % nested + b"}")
    assert fuzz.difference(case) is None
    refused = isinstance(fuzz.native(case, fuzz.Options(allow_nan=True)), ConversionError)
    assert refused == (levels > 200)
