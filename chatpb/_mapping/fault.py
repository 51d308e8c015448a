"""Finds the first fault of a JSON text: its place, its path and its reason.

The library reads JSON with the parser of the standard library, which is fast but knows no paths.
Only when that fails is the text scanned here, once, without recursion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from chatpb._errors import ConversionError, path_segment

MAX_DEPTH: Final = 200
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_STRING_PREFIX = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(rb"true|false|null|NaN|-?Infinity")
_BOM = b"\xef\xbb\xbf"


def find_error(data: bytes, *, allow_nan: bool) -> ConversionError | None:
    """The first fault of a JSON text, or None if there is none.

    Whether the text is UTF-8 is checked first, then its syntax and its depth from left to right.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        scanner = _Scanner(data[: error.start], allow_nan)
        scanner.run()
        return ConversionError("not UTF-8", scanner.path(), error.start)
    scanner = _Scanner(data, allow_nan)
    reason = scanner.run()
    return None if reason is None else ConversionError(reason, scanner.path(), scanner.at)


class _Scanner:
    """A reader of JSON tokens that knows where it is."""

    def __init__(self, data: bytes, allow_nan: bool) -> None:
        self.data = data
        self.allow_nan = allow_nan
        self.at = len(_BOM) if data.startswith(_BOM) else 0
        self.stack: list[str | int | None] = []  # a member name, an index, or None before a name
        self.expect: Callable[[], str | None] | None = None

    def path(self) -> str:
        return "$" + "".join(path_segment(step) for step in self.stack if step is not None)

    def run(self) -> str | None:
        """Reads to the first fault and returns what it is."""
        reason = self._value()
        while reason is None and self.expect is not None:
            reason = self.expect()
        return reason

    def _skip(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self.data, self.at)
        if match is None:
            return b""
        self.at = match.end()
        return match.group()

    def _seen(self) -> str:
        rest = self.data[self.at : self.at + 24].decode("utf-8", "replace")
        return repr(rest[:12]) if rest else "the end of the text"

    def _value(self) -> str | None:
        """Reads a value, or the opening bracket of one."""
        self.expect = self._next
        self._skip(_SPACE)
        first = self.data[self.at : self.at + 1]
        if first in (b"{", b"["):
            if len(self.stack) >= MAX_DEPTH:
                return TOO_DEEP
            self.at += 1
            self.stack.append(None if first == b"{" else 0)
            self.expect = self._first
            return None
        if first == b'"':
            return None if self._skip(_STRING) else self._bad_string()
        start = self.at
        word = self._skip(_WORD)
        if word in (b"NaN", b"Infinity", b"-Infinity") and not self.allow_nan:
            self.at = start
            return f"{word.decode()} is not JSON; pass allow_nan=True to keep it"
        if word or self._skip(_NUMBER):
            return None
        return f"expected a value, got {self._seen()}"

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
            return f"expected a member name in double quotes, got {self._seen()}"
        name = self._skip(_STRING)
        if not name:
            return self._bad_string()
        self._skip(_SPACE)
        if self.data[self.at : self.at + 1] != b":":
            return f"expected ':' after a member name, got {self._seen()}"
        self.at += 1
        self.stack[-1] = json.loads(name)
        self.expect = self._value
        return None

    def _next(self) -> str | None:
        """Reads what follows a value: a comma, a closing bracket, or the end of the text."""
        self._skip(_SPACE)
        sign = self.data[self.at : self.at + 1]
        if not self.stack:
            self.expect = None
            return f"expected the end of the text, got {self._seen()}" if sign else None
        step = self.stack[-1]
        closing = b"]" if isinstance(step, int) else b"}"
        if sign == closing:
            self._close()
            return None
        if sign != b",":
            self.stack[-1] = None
            return f"expected ',' or '{closing.decode()}', got {self._seen()}"
        self.at += 1
        if isinstance(step, int):
            self.stack[-1] = step + 1
            self.expect = self._value
        else:
            self.expect = self._name
        return None

    def _bad_string(self) -> str:
        self._skip(_STRING_PREFIX)
        if self.at == len(self.data):
            return "expected the end of a string, got the end of the text"
        if self.data[self.at : self.at + 1] == b"\\":
            return f"expected an escape sequence, got {self._seen()}"
        return f"expected a control character to be escaped, got {self._seen()}"
