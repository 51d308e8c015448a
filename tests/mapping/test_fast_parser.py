"""The two parsers of the pure Python implementation agree: the fast one, and the exact one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb._mapping.canonical import canonical
from chatpb._mapping.reference import read_exact, read_fast
from chatpb._mapping.schema import mapping_of
from chatpb.v1 import ChatCompletion, ChatCompletionRequest, FunctionDefinition, ModerationResult
from support.golden_files import vectors
from support.strategies import MIRRORS, json_texts, values


def _read_fast(text: bytes, kind: type[Message]) -> bytes | None:
    message = read_fast(text, kind)
    return None if message is None else canonical(message)


def _read_exact(text: bytes, kind: type[Message]) -> bytes | None:
    try:
        return canonical(read_exact(text, kind, allow_nan=False))
    except chatpb.ConversionError:
        return None


@pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_the_fast_parser_gives_what_the_exact_one_gives(
    kind: type[Message], data: st.DataObject
) -> None:
    text = data.draw(json_texts(mapping_of(kind)))
    fast = _read_fast(text, kind)
    assert fast is None or _read_exact(text, kind) == fast


@given(text=st.binary() | st.text().map(str.encode) | values.map(json.dumps).map(str.encode))
def test_the_fast_parser_gives_what_the_exact_one_gives_for_any_text(text: bytes) -> None:
    for wrapped in (text, b'{"model":%b}' % text, b'{"x":%b}' % text, b'{"top_p":%b}' % text):
        fast = _read_fast(wrapped, ChatCompletion)
        assert fast is None or _read_exact(wrapped, ChatCompletion) == fast


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_the_fast_parser_gives_the_vectors(vector: Any) -> None:
    assert _read_fast(vector.json, vector.message_type) in (None, vector.binary)


def _numbers(*cases: tuple[str, bool, bool, bool]) -> list[Any]:
    """The cases of one number in a double, in an integer field and outside the schema."""
    return [
        pytest.param(kind, template % number.encode(), is_fast, id=f"{number[:24]} {place}")
        for number, *places in cases
        for (place, kind, template), is_fast in zip(_PLACES, places, strict=True)
    ]


_PLACES: list[tuple[str, type[Message], bytes]] = [
    ("in a double", ChatCompletion, b'{"top_p":%b}'),
    ("in an integer", ChatCompletion, b'{"created":%b}'),
    ("in extra_json", ChatCompletion, b'{"x":[%b]}'),
]


@pytest.mark.parametrize(
    ("kind", "text", "is_fast"),
    [
        *_numbers(
            ("0", True, True, True),
            ("-0", False, False, False),
            ("-0 ", False, False, False),
            ("-0.0", True, False, False),
            ("-0.5", True, False, False),
            ("-0e0", True, False, False),
            ("1E2", True, False, False),
            ("1.0", True, False, False),
            (str(2**53 + 1), True, True, True),
            (str(2**63 - 1), True, True, True),
            (str(2**63), True, True, True),
            (str(2**64 - 1), True, True, True),
            (str(2**64), False, False, False),
            (str(2**64 + 1), False, False, False),
            (str(2**100), False, False, False),
            (str(-(2**63)), True, True, True),
            (str(-(2**63) - 1), False, False, False),
            ("9223372036854774784.0", True, False, False),
            ("9223372036854775808.0", False, False, False),
            ("1e300", False, False, False),
            ("1e400", False, False, False),
            ("1e-400", True, False, False),
            ("-1e-400", True, False, False),
            ("9" * 5000, False, False, False),
            ("NaN", False, False, False),
            ("-Infinity", False, False, False),
            ("01", False, False, False),
        ),
        *(
            pytest.param(
                FunctionDefinition,
                b'{"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}",
                levels <= 200,
                id=f"{levels} levels",
            )
            for levels in (199, 200, 201, 1025, 100_000)
        ),
        pytest.param(ChatCompletion, b'{"id":"a","x":1,"id":"b","x":2}', True, id="duplicates"),
        pytest.param(ChatCompletion, b'{"x":0.5,"x":1}', True, id="a duplicate of a float"),
        pytest.param(ChatCompletion, b'{"x":1,"y":2,"x":{"b":1,"b":2}}', True, id="order"),
        pytest.param(
            ModerationResult, b'{"category_scores":{"a":0.5,"b":-0.0}}', True, id="doubles in a map"
        ),
        pytest.param(
            ModerationResult, b'{"category_scores":{"a":0.5,"b":"c"}}', False, id="a misfit map"
        ),
        pytest.param(
            ChatCompletion,
            b'{"choices":[{"logprobs":{"content":[{"token":"a","bytes":[97.0]}]}}]}',
            False,
            id="a float in a byte array",
        ),
        pytest.param(FunctionDefinition, b'{"parameters":{"maximum":1}}', True, id="a JSON Schema"),
        pytest.param(
            FunctionDefinition,
            b'{"parameters":{"maximum":1.0}}',
            False,
            id="a float in a JSON Schema",
        ),
        pytest.param(
            ChatCompletionRequest,
            b'{"stop":0.5,"tool_choice":0.5,"temperature":0.5}',
            False,
            id="floats in unions",
        ),
        pytest.param(ChatCompletion, b'{"id":"2024-01-05, -0.5"}', True, id="a date"),
        pytest.param(ChatCompletion, b'{"id":"-0"}', False, id="-0 in a string"),
        pytest.param(ChatCompletion, b'{"id":"\\ud83d\\ude00"}', True, id="a pair"),
        pytest.param(ChatCompletion, b'{"id":"\\ud83d"}', False, id="a lone surrogate"),
        pytest.param(ChatCompletion, b'{"\\udc00":1}', False, id="a lone surrogate in a name"),
        pytest.param(ChatCompletion, b'{"id":"\xed\xa0\x80"}', False, id="a surrogate in UTF-8"),
        pytest.param(ChatCompletion, b'{"id":"\xff"}', False, id="not UTF-8"),
        pytest.param(ChatCompletion, b'\xef\xbb\xbf{"id":"a"}', False, id="a byte order mark"),
        pytest.param(ChatCompletion, b' \t\r\n{"id":"\x7f"}\n', True, id="white space"),
        pytest.param(ChatCompletion, b'{"id":"a"}\x0c', False, id="other white space"),
        pytest.param(ChatCompletion, b'{"id":"a\nb"}', False, id="a control character"),
        pytest.param(ChatCompletion, b'{"id":"a\\u0000b"}', True, id="NUL"),
        pytest.param(ChatCompletion, b"[]", False, id="an array"),
        pytest.param(ChatCompletion, b"", False, id="nothing"),
    ],
)
def test_which_parser_reads(kind: type[Message], text: bytes, is_fast: bool) -> None:
    fast = _read_fast(text, kind)
    assert is_fast == (fast is not None)
    assert fast in (None, _read_exact(text, kind))
