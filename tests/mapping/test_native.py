"""The native implementation gives what the reference gives: bytes or an error."""

from __future__ import annotations

import functools
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

import chatpb
from chatpb._mapping.native import transcoder
from chatpb._mapping.schema import mapping_of
from chatpb.sse import ChunkDecoder
from chatpb.v1 import (
    AudioParam,
    ChatCompletion,
    ChatCompletionMessageParam,
    ChatCompletionTokenLogprob,
    FunctionDefinition,
    InputAudio,
    ModerationResult,
    TopLogprob,
)
from mapping import fuzz
from mapping.fuzz import BINARY, JSON, Case
from support.golden_files import vectors
from support.limits import SOAK
from support.strategies import MIRRORS, json_objects, messages

if transcoder is None:
    pytest.skip("the native implementation was not built", allow_module_level=True)

kinds = pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)


@kinds
@given(data=st.data())
def test_json_of_every_type(kind: type[Message], data: st.DataObject) -> None:
    text = json.dumps(data.draw(json_objects(mapping_of(kind)))).encode()
    assert fuzz.difference(Case(JSON, kind, text)) is None


@kinds
@given(data=st.data())
def test_binary_of_every_type(kind: type[Message], data: st.DataObject) -> None:
    binary = data.draw(messages(kind)).SerializeToString()
    assert fuzz.difference(Case(BINARY, kind, binary)) is None


def test_mutated_input() -> None:
    count = 40_000 if SOAK else 15_000
    tally = fuzz.run(count, seed=1)
    assert tally.total == count
    assert tally.same > count // 4


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_vectors_are_the_same(vector: Any) -> None:
    by_text = fuzz.native(Case(JSON, vector.message_type, vector.json))
    by_binary = fuzz.native(Case(BINARY, vector.message_type, vector.binary))
    assert vector.binary == by_text
    assert isinstance(by_binary, bytes)
    assert vector.binary == chatpb.json_to_binary(by_binary, vector.message_type)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(ChatCompletion, b'{"object":"chat.completion\\ud800"}', id="constant"),
        pytest.param(InputAudio, b'{"data":"YQ==\\ud800"}', id="base64"),
        pytest.param(ChatCompletion, b'{"choices":[{}],"choices":[]}', id="twice"),
        pytest.param(ChatCompletion, b'{"top_p":%d}' % (2**127 - 1), id="2**127-1"),
        pytest.param(ChatCompletion, b'{"top_p":%d}' % (2**100), id="2**100"),
        pytest.param(FunctionDefinition, b'{"x":{"a":1,"b":{"a":2,"a":3}}}', id="twice below"),
        pytest.param(ChatCompletion, b'{"cre\\u0061ted":7}', id="escaped name"),
        pytest.param(
            ChatCompletion,
            b'{"choices":[{"logprobs":{"content":[{"bytes":[97],"token":"a"}]}}]}',
            id="bytes before their token",
        ),
        pytest.param(
            ChatCompletion,
            b'{"choices":[{"logprobs":{"content":[{"bytes":"x","y":1,"token":"a"}]}}]}',
            id="other bytes before their token",
        ),
        pytest.param(
            ChatCompletion,
            b'{"choices":[{"logprobs":{"content":[{"x":1,"bytes":[256],"y":2,"token":7,"z":3}]}}]}',
            id="bytes that do not fit keep their place",
        ),
        pytest.param(ChatCompletion, b'{"top_p":1%s}' % (b"0" * 60), id="a long integer"),
        pytest.param(ChatCompletion, b'{"top_p":-%d}' % 2**200, id="-2**200"),
        pytest.param(
            ChatCompletion, b'{"top_p":1%s}' % (b"0" * 400), id="an integer beyond doubles"
        ),
        pytest.param(ChatCompletion, b'{"top_p":NaN,"created":NaN,"x":[-Infinity]}', id="NaN"),
        pytest.param(ChatCompletion, b'{"top_p":-Infinity,"x":{"y":Infinity}}', id="infinite"),
        pytest.param(ChatCompletion, b'{"top_p":-Infinit}', id="almost infinite"),
        pytest.param(
            ModerationResult, b'{"category_scores":{"a":1,"b":2,"a":NaN}}', id="twice in a map"
        ),
    ],
)
def test_json_once_found_to_differ(kind: type[Message], text: bytes) -> None:
    assert fuzz.difference(Case(JSON, kind, text)) is None


@pytest.mark.parametrize(
    ("kind", "binary"),
    [
        pytest.param(ChatCompletion, b'*\x01\xffz\x0f"\r{"choices":1}', id="silenced message"),
        pytest.param(ChatCompletion, b'"\x01\xffz\r"\x0b{"model":1}', id="silenced string"),
        pytest.param(ChatCompletionMessageParam, b"\x12\x02\x02\x00", id="field 0 in a union"),
        pytest.param(AudioParam, b"\x12\x07\x02\x05alloy", id="field 0 in a oneof"),
        pytest.param(ChatCompletion, b'z\x07"\x01\xff"\x02{}', id="extra_json twice"),
        pytest.param(
            ModerationResult,
            b"2\r\n\x01k\x12\x03\n\x01\x01\x12\x03\n\x01\x02",
            id="a map value twice",
        ),
        pytest.param(ModerationResult, b'"\x08\n\x01\xff\n\x01k\x10\x01', id="a map key twice"),
        pytest.param(ChatCompletion, b"\x98\x80\x80\x80\x80\x00\x05", id="long tag"),
        pytest.param(ChatCompletion, b"\n\x81\x80\x80\x80\x80\x00a", id="long length"),
    ],
)
def test_binary_once_found_to_differ(kind: type[Message], binary: bytes) -> None:
    assert fuzz.difference(Case(BINARY, kind, binary)) is None


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(
            {
                "id": 1613,
                "token": "List",
                "bytes": [76, 105, 115, 116],
                "logprob": -1.5,
                "top_logprobs": [{"id": 2**31 - 1, "token": "a", "bytes": [97], "logprob": 0.0}],
            },
            id="a token",
        ),
        pytest.param({"id": -1, "token": "", "logprob": -0.0, "x": {}, "bytes": None}, id="odd"),
        pytest.param({"id": 2**31, "token": "a", "logprob": 1, "id ": 2}, id="no int32"),
    ],
)
def test_members_in_any_order(members: dict[str, Any]) -> None:
    expected = None
    for order in itertools.permutations(members.items()):
        text = json.dumps(dict(order)).encode()
        assert fuzz.difference(Case(JSON, ChatCompletionTokenLogprob, text)) is None
        binary = chatpb.json_to_binary(text, ChatCompletionTokenLogprob)
        if "x" not in members and "id " not in members:
            expected = expected or binary
            assert expected == binary


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**14, 2**21, 2**28, 2**31 - 1, -1, -(2**31)])
@pytest.mark.parametrize("token", ["", "a", 'say "', "fifteen letters", "1234567\x7f", "\u00e9\n"])
def test_fields_in_any_order(value: int, token: str) -> None:
    parts = [
        TopLogprob(token=token),
        TopLogprob(logprob=-2.5),
        TopLogprob(bytes=b"\xff"),
        TopLogprob(id=value),
    ]
    for size in range(5):
        for some in itertools.permutations(parts, size):
            binary = b"".join(part.SerializeToString() for part in some)
            assert fuzz.difference(Case(BINARY, TopLogprob, binary)) is None
    twice = TopLogprob(id=7).SerializeToString() + parts[3].SerializeToString()
    assert fuzz.difference(Case(BINARY, TopLogprob, twice)) is None


_LINES = [
    b'data: {"id":"a","choices":[]}',
    b'data:{"id":"b"}',
    b'data: {"error":{"message":"no"}}',
    b'data: {"id":"c","error":1}',
    b"data: [DONE]",
    b"data:  [DONE] \t",
    b"data: : PROCESSING",
    b"data::",
    b"data: \t",
    b'data:  {"id":"d"} ',
    b"data: ]",
    b"data: {",
    b"data:",
    b"data",
    b"event: error",
    b"event: x",
    b": comment",
    b"",
    b"",
    b"",
    b'data: "' + b"x" * 90 + b'"',
    b"\xef\xbb\xbfdata: {}",
]


@settings(max_examples=500)
@given(
    lines=st.lists(st.tuples(st.sampled_from(_LINES), st.sampled_from([b"\n", b"\r", b"\r\n"]))),
    cuts=st.lists(st.integers(0, 300)),
    most=st.sampled_from([60, 10_000]),
)
def test_event_streams(lines: list[tuple[bytes, bytes]], cuts: list[int], most: int) -> None:
    stream = b"".join(line + end for line, end in lines)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    results = []
    for is_native in (True, False):
        decoder = ChunkDecoder(max_event_bytes=most)
        if not is_native:
            decoder._reader._native = None
        calls: list[Callable[[], list[bytes]]] = [
            functools.partial(decoder.feed, piece) for piece in pieces
        ]
        seen: list[object] = []
        for call in [*calls, decoder.close, decoder.close]:
            try:
                seen.append(call())
            except chatpb.ConversionError as error:
                seen.append(str(error))
        results.append((seen, decoder.error, decoder.is_done))
    assert results[1] == results[0]


def _nested(levels: int) -> bytes:
    return b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_nested(200), id="deep"),
        pytest.param(_nested(201), id="too deep"),
        pytest.param(_nested(1_000_000), id="much too deep"),
        pytest.param(
            b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}", id="many members"
        ),
        pytest.param(b"{" + b",".join([b'"a":1'] * 100_000) + b"}", id="one member often"),
        pytest.param(b'{"x":"' + b"\\u0061" * 500_000 + b'"}', id="escapes"),
        pytest.param(b'{"x":' + b"9" * 1_000_000 + b"}", id="a long integer"),
        pytest.param(b'{"x":0.' + b"9" * 1_000_000 + b"}", id="a long fraction"),
        pytest.param(b'{"x":[' + b"1," * 500_000 + b"1]}", id="a long array"),
    ],
)
def test_hostile_input_ends_as_in_the_reference(text: bytes) -> None:
    case = Case(JSON, FunctionDefinition, text)
    assert fuzz.difference(case) is None
    expected = fuzz.reference(case)
    if isinstance(expected, bytes):
        assert fuzz.difference(Case(BINARY, FunctionDefinition, expected)) is None


def test_other_threads_run_meanwhile() -> None:
    """The GIL is free during a call."""
    text = b'{"x":[' + b"1," * 3_000_000 + b"1]}"
    steps = 0
    done = threading.Event()
    began = threading.Event()

    def count() -> None:
        nonlocal steps
        began.set()
        while not done.is_set():
            steps += 1
            time.sleep(0)  # gives the GIL away

    thread = threading.Thread(target=count)
    thread.start()
    began.wait()
    progress = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e6)  # nobody has to give the GIL away: only a call that frees it does
    try:
        for _ in range(20):
            before = steps
            fuzz.native(Case(JSON, FunctionDefinition, text))
            progress = max(progress, steps - before)
    finally:
        sys.setswitchinterval(interval)
        done.set()
    thread.join()
    assert progress > 0
