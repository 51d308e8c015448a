"""The place, path and reason of the first fault of a JSON text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb._mapping.fault import find_error
from support.strategies import values


@pytest.mark.parametrize(
    ("text", "offset", "path", "reason"),
    [
        (b"", 0, "$", "expected a value, got the end of the text"),
        (b'{"a":[1,{"b":nul}]}', 13, "$.a[1].b", "expected a value, got 'nul}]}'"),
        (b'{"a" 1}', 5, "$", "expected ':' after a member name, got '1}'"),
        (b"[1 2]", 3, "$", "expected ',' or ']', got '2]'"),
        (b'{"a":1,}', 7, "$", "expected a member name in double quotes, got '}'"),
        (b'{"a":01}', 6, "$", "expected ',' or '}', got '1}'"),
        (b'{"a":"x\ny"}', 7, "$.a", "expected a control character to be escaped, got '\\ny\"}'"),
        (b'{"a b":{"c":"\\q"}}', 13, "$['a b'].c", "expected an escape sequence, got '\\\\q\"}}'"),
        (b'["abc', 5, "$[0]", "expected the end of a string, got the end of the text"),
        (b"\xef\xbb\xbf{} {}", 6, "$", "expected the end of the text, got '{}'"),
        (b'{"a":{"b":"\xff"}}', 11, "$.a.b", "not UTF-8"),
        (b"[" * 201, 200, "$" + "[0]" * 200, "nested deeper than 200 levels"),
        (b'{"a":-Infinity}', 5, "$.a", "-Infinity is not JSON; pass allow_nan=True to keep it"),
    ],
)
def test_faults(text: bytes, offset: int, path: str, reason: str) -> None:
    error = find_error(text, allow_nan=False)
    assert error is not None
    assert (offset, path, reason) == (error.offset, error.path, error.reason)


@given(
    text=values.map(json.dumps).map(str.encode)
    | st.lists(st.sampled_from('{}[]",:0123.eE+-tnulrafs\\ \n'), max_size=12).map(
        lambda pieces: "".join(pieces).encode()
    ),
    cut=st.integers(0, 40),
)
def test_a_text_has_a_fault_where_the_standard_parser_refuses_it(text: bytes, cut: int) -> None:
    for part in (text, text[:cut] + text[cut + 1 :]):
        try:
            json.loads(part)
        except ValueError:
            assert find_error(part, allow_nan=True) is not None
        else:
            assert find_error(part, allow_nan=True) is None
