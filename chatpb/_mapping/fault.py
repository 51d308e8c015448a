"""Finds the first fault of a JSON text: its place, its path and its reason.

The parsers that the library reads JSON with are fast, but know no paths. Only when they fail is the
text scanned, once, without recursion: by the native implementation, or by its reference here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from chatpb._errors import ConversionError, path_segment
from chatpb._mapping.native import transcoder

MAX_DEPTH: Final = 200
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"

_SPACE = re.compile(rb"[ \t\n\r]*+")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*+')
_ESCAPES = re.compile(rb'(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))++')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_WORD = re.compile(rb"true|false|null|NaN|-?Infinity")
_BOM = b"\xef\xbb\xbf"
_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\n\r]*+")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_ASCII: Final = bytes(range(128, 256))
_KINDS: Final = {
    b"[": "an array",
    b'"': "a string",
    b"t": "a boolean",
    b"f": "a boolean",
    b"n": "null",
}
_REASONS: Final = {
    "utf8": "not UTF-8",
    "depth": TOO_DEEP,
    "value": "expected a value, got {seen}",
    "constant": "{constant} is not JSON; pass allow_nan=True to keep it",
    "name": "expected a member name in double quotes, got {seen}",
    "colon": "expected ':' after a member name, got {seen}",
    "comma or }": "expected ',' or '}}', got {seen}",
    "comma or ]": "expected ',' or ']', got {seen}",
    "end": "expected the end of the text, got {seen}",
    "string": "expected the end of a string, got the end of the text",
    "escape": "expected an escape sequence, got {seen}",
    "control": "expected a control character to be escaped, got {seen}",
}


def find_error(data: bytes, *, allow_nan: bool) -> ConversionError | None:
    """The first fault of a JSON text, or None if there is none.

    Whether the text is UTF-8 is checked first, then its syntax and its depth from left to right.
    """
    if transcoder is not None:
        refusal = transcoder.find_error(data, allow_nan)
        return None if refusal is None else ConversionError(*refusal)
    return scan(data, allow_nan)


def find_refusal(data: bytes, *, allow_nan: bool) -> ConversionError | None:
    """Why a text is not read as a JSON object: its first fault, or that it is another value."""
    fault = find_error(data, allow_nan=allow_nan)
    if fault is not None:
        return fault
    start = _START.match(data)
    assert start is not None
    first = data[start.end() : start.end() + 1]
    if first == b"{":
        return None
    kind = _KINDS.get(first, "a number")
    return ConversionError(f"expected an object, got {kind}", offset=start.end())


def may_be_too_deep(data: bytes | bytearray) -> bool:
    """Whether a JSON text may nest deeper than MAX_DEPTH, at a small part of the cost of `scan`.

    Brackets in strings count as well, so the answer can be true of other texts too.
    """
    brackets = data.translate(None, _OTHERS)
    while len(brackets) > 2 * MAX_DEPTH:
        outer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(outer) > len(brackets) * 0.9:
            return True
        brackets = outer
    return False


def begins_too_deep(data: bytes | bytearray) -> ConversionError | None:
    """The fault of a JSON text whose beginning nests deeper than MAX_DEPTH already, if it does.

    Args:
        data: The beginning of the text.
    """
    if not may_be_too_deep(data):
        return None
    whole = bytes(data).rstrip(_NOT_ASCII)  # the last character may be cut
    fault = find_error(whole, allow_nan=True)
    return fault if fault is not None and fault.reason == TOO_DEEP else None


def _reason(kind: str, data: bytes, at: int) -> str:
    rest = data[at : at + 24].decode("utf-8", "replace")
    seen = repr(rest[:12]) if rest else "the end of the text"
    constant = _WORD.match(data, at) if kind == "constant" else None
    return _REASONS[kind].format(seen=seen, constant=constant and constant.group().decode())


def scan(data: bytes, allow_nan: bool) -> ConversionError | None:
    """What `find_error` gives, without the native implementation."""
    valid = data
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        valid = data[: error.start]
    scanner = _Scanner(valid, allow_nan)
    kind, at = scanner.run(), scanner.at
    if len(valid) < len(data):
        kind, at = "utf8", len(valid)
    return None if kind is None else ConversionError(_reason(kind, data, at), scanner.path(), at)


class _Scanner:
    """A reader of JSON tokens that knows where it is."""

    def __init__(self, data: bytes, allow_nan: bool) -> None:
        self.data = data
        self.allow_nan = allow_nan
        self.at = len(_BOM) if data.startswith(_BOM) else 0
        # The text of a member name, an index, or None before a name.
        self.stack: list[bytes | int | None] = []
        self.expect: Callable[[], str | None] | None = None

    def path(self) -> str:
        names = (step if isinstance(step, int | None) else json.loads(step) for step in self.stack)
        return "$" + "".join(path_segment(name) for name in names if name is not None)

    def run(self) -> str | None:
        """Reads to the first fault and returns its kind."""
        kind = self._value()
        while kind is None and self.expect is not None:
            kind = self.expect()
        return kind

    def _skip(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self.data, self.at)
        if match is None:
            return b""
        self.at = match.end()
        return match.group()

    def _value(self) -> str | None:
        """Reads a value, or the opening bracket of one."""
        self.expect = self._next
        self._skip(_SPACE)
        first = self.data[self.at : self.at + 1]
        if first in (b"{", b"["):
            if len(self.stack) >= MAX_DEPTH:
                return "depth"
            self.at += 1
            self.stack.append(None if first == b"{" else 0)
            self.expect = self._first
            return None
        if first == b'"':
            return self._string()
        start = self.at
        word = self._skip(_WORD)
        if word in (b"NaN", b"Infinity", b"-Infinity") and not self.allow_nan:
            self.at = start
            return "constant"
        if word or self._skip(_NUMBER):
            return None
        return "value"

    def _first(self) -> str | None:
        """Reads what follows an opening bracket: the first value, or the closing bracket."""
        self._skip(_SPACE)
        in_object = self.stack[-1] is None
        if self.data[self.at : self.at + 1] == (b"}" if in_object else b"]"):
            self._close()
            return None
        return self._name() if in_object else self._value()

    def _close(self) -> None:
        self.at += 1
        self.stack.pop()
        self.expect = self._next

    def _name(self) -> str | None:
        """Reads a member name and its colon."""
        self.stack[-1] = None
        self._skip(_SPACE)
        if self.data[self.at : self.at + 1] != b'"':
            return "name"
        start = self.at
        kind = self._string()
        if kind is not None:
            return kind
        name = self.data[start : self.at]
        self._skip(_SPACE)
        if self.data[self.at : self.at + 1] != b":":
            return "colon"
        self.at += 1
        self.stack[-1] = name
        self.expect = self._value
        return None

    def _next(self) -> str | None:
        """Reads what follows a value: a comma, a closing bracket, or the end of the text."""
        self._skip(_SPACE)
        sign = self.data[self.at : self.at + 1]
        if not self.stack:
            self.expect = None
            return "end" if sign else None
        step = self.stack[-1]
        closing = b"]" if isinstance(step, int) else b"}"
        if sign == closing:
            self._close()
            return None
        if sign != b",":
            self.stack[-1] = None
            return f"comma or {closing.decode()}"
        self.at += 1
        if isinstance(step, int):
            self.stack[-1] = step + 1
            self.expect = self._value
        else:
            self.expect = self._name
        return None

    def _string(self) -> str | None:
        """Reads a string to its end or to its fault."""
        self.at += 1
        while True:
            self._skip(_PLAIN)
            if not self._skip(_ESCAPES):
                break
        end = self.data[self.at : self.at + 1]
        if end == b'"':
            self.at += 1
            return None
        if not end:
            return "string"
        return "escape" if end == b"\\" else "control"
