"""How two JSON values differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, Final

from chatpb._errors import path_segment
from chatpb._mapping.text import JsonNumber, dump


class _NoMember:
    """The type of `NO_MEMBER`."""


NO_MEMBER: Final = _NoMember()
_MAX_SHOWN: Final = 80  # characters of a value
_LONG: Final = 1 << 20  # characters of a text
_BEGINNING: Final = 8  # characters of such a text, next to what else is shown of it
_UNTRAPPED: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two values differ.

    Attributes:
        path: The place, such as ``$.choices[0].finish_reason``.
        expected: What the first has there, or `NO_MEMBER`.
        got: What the second has there, or `NO_MEMBER`.
    """

    path: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self.path}: expected {shown(self.expected)}, got {shown(self.got)}"


def differences(expected: Any, got: Any, path: str = "$") -> Iterator[Difference]:
    """The places where two JSON trees differ.

    Types count (``true`` is not 1), null is not absence, arrays have an order and objects have
    none. Numbers are equal by value: ``1`` and ``1.0`` are equal, and so are two fractions that
    are the same double; integers are compared exactly, however long.

    Args:
        expected: A tree, as `chatpb._mapping.text.parse` gives it.
        got: Another.
        path: The path of both.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in expected | got:
            left, right = expected.get(name, NO_MEMBER), got.get(name, NO_MEMBER)
            yield from differences(left, right, path + path_segment(name))
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            left = expected[index] if index < len(expected) else NO_MEMBER
            right = got[index] if index < len(got) else NO_MEMBER
            yield from differences(left, right, path + path_segment(index))
    elif not _equal(expected, got):
        yield Difference(path, expected, got)


def shortened(value: Any) -> Any:
    """A JSON tree whose long texts are their beginnings, lengths and digests.

    Two trees differ as they did before, but a long text is not kept in memory.
    """
    if type(value) is str and len(value) >= _LONG:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{value[:_BEGINNING]}… ({len(value)} characters, {digest})"
    if isinstance(value, dict):
        return {name: shortened(below) for name, below in value.items()}
    return [shortened(below) for below in value] if isinstance(value, list) else value


def shown(value: Any, width: int = _MAX_SHOWN) -> str:
    """A value as short JSON text."""
    if value is NO_MEMBER:
        return "no member"
    text = dump(value)
    return text if len(text) <= width else f"{text[: width - 1]}… ({len(text)} characters)"


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return _equal_numbers(left, right)
    return type(left) is type(right) and bool(left == right)


def _is_number(value: object) -> bool:
    return type(value) in (int, float, JsonNumber)


def _equal_numbers(left: Any, right: Any) -> bool:
    if str(left) == str(right):
        return True
    left, right = _value(left), _value(right)
    return left is not None and bool(left == right)


def _value(number: Any) -> int | float | Decimal | None:
    """The value of a number; None if it is too large for any arithmetic."""
    if type(number) is not JsonNumber:
        value: int | float = number
        return value
    double = float(number)
    if math.isfinite(double):
        return double
    exact = _UNTRAPPED.create_decimal(number)
    return exact if exact.is_finite() else None
