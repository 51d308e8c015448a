"""The place, path and reason of the first fault of a JSON text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatpb._mapping import fault
from chatpb._mapping.fault import MAX_DEPTH, find_error, may_be_too_deep, scan
from chatpb._mapping.native import transcoder
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
        (b'{"a":1}}', 7, "$", "expected the end of the text, got '}'"),
        (b'["\\u12g4"]', 2, "$[0]", "expected an escape sequence, got '\\\\u12g4\"]'"),
        (b'["\\u12', 2, "$[0]", "expected an escape sequence, got '\\\\u12'"),
        (b"[1.]", 2, "$", "expected ',' or ']', got '.]'"),
        (b"[1e+]", 2, "$", "expected ',' or ']', got 'e+]'"),
        (b"[-]", 1, "$[0]", "expected a value, got '-]'"),
        (b'{"a":1 \x00', 7, "$", "expected ',' or '}', got '\\x00'"),
        (b'{"a":-Infinity}', 5, "$.a", "-Infinity is not JSON; pass allow_nan=True to keep it"),
    ],
)
@pytest.mark.parametrize("find", ["native", "reference"])
def test_faults(
    monkeypatch: pytest.MonkeyPatch, find: str, text: bytes, offset: int, path: str, reason: str
) -> None:
    if find == "reference":
        monkeypatch.setattr(fault, "transcoder", None)
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


_PIECES = [
    *['{"a":', '"b\\u00e9":', "[", "]", "}", ",", '"', "\\", "1", "-", ".5", "e1", " ", "\x00"],
    *["NaN", "-Infinity", "true", "nul", '"\\n"', "\ufeff", "\u00e9", "\U0001f600"],
]


@given(
    text=st.lists(
        st.sampled_from(_PIECES),
        max_size=12,
    ).map(lambda pieces: "".join(pieces).encode()),
    cut=st.integers(0, 60),
    allow_nan=st.booleans(),
)
def test_the_native_search_finds_the_same(text: bytes, cut: int, allow_nan: bool) -> None:
    if transcoder is None:
        pytest.skip("the native implementation was not built")
    for part in (text, text[:cut]):  # the cut may be in a character
        error = scan(part, allow_nan)
        expected = error and (error.reason, error.path, error.offset)
        assert expected == transcoder.find_error(part, allow_nan)


@given(
    levels=st.integers(190, 210),
    beside=st.lists(st.sampled_from(["[]", "{}", '"]["', '"{"', '{"a":[{}]}', "1"]), max_size=300),
)
def test_what_is_too_deep_is_looked_at(levels: int, beside: list[str]) -> None:
    nested = "".join("[" if level % 3 else '{"a":' for level in range(levels))
    nested += "1" + "".join("]" if level % 3 else "}" for level in reversed(range(levels)))
    text = f"[{','.join([*beside, nested, *beside])}]".encode()
    fault = find_error(text, allow_nan=False)
    assert (levels >= MAX_DEPTH) == (fault is not None)
    assert may_be_too_deep(text) or fault is None
    assert not may_be_too_deep(b"[%s]" % b",".join([b'[{"a":[]},"[["]'] * 100))
