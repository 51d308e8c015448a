"""JSON text to Python values and back, with nothing lost on the way.

A JSON tree consists of dict, list, str, int, float, bool, None and `JsonNumber`. The last is a
number whose spelling matters: every number with a fraction or an exponent, and the integers that
Python would spell in another way. Such a tree is written as the text that it came from, except
white space, escapes, and members that a later one of the same name replaces.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final

import orjson

from chatpb._errors import ConversionError
from chatpb._mapping.arguments import utf8
from chatpb._mapping.fault import MAX_DEPTH, TOO_DEEP, find_error, may_be_too_deep
from chatpb._mapping.native import transcoder

_KINDS: Final = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}
_MINUS_ZERO: Final = re.compile(r"-0(?![.eE\d])")
_MINUS_ZERO_BYTES: Final = re.compile(_MINUS_ZERO.pattern.encode())
_UNSIGNED: Final = re.compile("e(?=[0-9])")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STEP: Final = 1024 * 1024
_MAX_INT_DIGITS: Final = 4300  # what int() takes by default, so that time stays linear


class JsonNumber(str):
    """The text of a JSON number."""

    __slots__ = ()


#: The types of values that are their own trees.
_PLAIN: Final = frozenset({str, int, bool, type(None), JsonNumber})


class InexactError(Exception):
    """The result of the fast parser may differ from that of `parse`, which has to be called."""


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "a number")


def parse(data: bytes | bytearray | memoryview | str, *, allow_nan: bool = False) -> Any:
    """Reads a JSON text into a tree.

    Args:
        data: The text, in UTF-8 if it is bytes. A byte order mark and white space may surround
            the value.
        allow_nan: Whether NaN, Infinity and -Infinity are read, as floats.

    Returns:
        The tree. If a member is repeated, the last value wins, in the place of the first.

    Raises:
        ConversionError: The text is not JSON or not UTF-8, or nests deeper than MAX_DEPTH.
    """
    return _parse(utf8(data), JsonNumber, allow_nan)


def parse_plain(data: bytes | bytearray | memoryview | str, *, allow_nan: bool = False) -> Any:
    """Reads a JSON text into Python's own numbers; otherwise like `parse`."""
    return _parse(utf8(data), float, allow_nan)


def parse_fast(data: bytes) -> Any:
    """Reads a JSON text as `parse` does, three times as fast, except for its numbers.

    orjson and `parse` return the same tree for the same text, with the same values and places of
    repeated members, with these exceptions:

    - Numbers with a fraction or an exponent are floats: their spelling is lost. Their value is the
      nearest double, as of `float`.
    - Integers beyond 64 bits are floats too, all of them of 2**63 or more, or -2**63 or less.
    - The integer -0 is 0. A text that may have one is refused here.
    - A byte order mark, lone surrogates, NaN and the infinities, numbers beyond the range of
      doubles, and text that may be too deep are refused, as is all that is not JSON or not UTF-8.

    So a tree without floats is that of `parse`. With floats it is so as far as their nearest
    doubles matter and they are between -2**63 and 2**63.

    Raises:
        InexactError: The text is refused. `parse` may read it, or reports what is wrong.
    """
    if _MINUS_ZERO_BYTES.search(data):
        raise InexactError
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InexactError from None
    if may_be_too_deep(data):
        raise InexactError
    return tree


def has(data: bytes, word: bytes) -> bool:
    """Whether bytes have a word, searched in steps that do not hold Python's lock for long."""
    size = len(data)
    if size <= _STEP:
        return word in data
    return any(
        data.find(word, start, start + _STEP + len(word) - 1) >= 0
        for start in range(0, size, _STEP)
    )


def count(data: bytes, word: bytes) -> int:
    """How often bytes have a word, which does not overlap itself, counted in such steps."""
    if len(data) <= _STEP:
        return data.count(word)
    return sum(
        data.count(word, start, start + _STEP + len(word) - 1)
        for start in range(0, len(data), _STEP)
    )


def _parse(data: bytes, number: Callable[[str], Any], allow_nan: bool) -> Any:
    # The native search costs less than reading a long text to its fault.
    fault = find_error(data, allow_nan=allow_nan) if transcoder is not None else None
    if fault is not None:
        raise fault
    try:
        tree = _decode(data.decode("utf-8-sig"), number, allow_nan)
    except (ValueError, RecursionError) as error:
        fault = find_error(data, allow_nan=allow_nan)
        raise fault or ConversionError(f"cannot be read: {error}") from None
    if transcoder is None and may_be_too_deep(data):
        # Of a member that is repeated, the tree has one value only.
        fault = find_error(data, allow_nan=allow_nan)
        if fault is not None:
            raise fault
    return tree


def _decode(text: str, number: Callable[[str], Any], allow_nan: bool) -> Any:
    exact = number is JsonNumber
    try:
        return _decoder(number, exact and bool(_MINUS_ZERO.search(text)), allow_nan).decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        if not exact:
            raise
        # An integer too long for int(), or a refused constant, which is refused again.
        return _decoder(number, True, allow_nan).decode(text)


@functools.cache
def _decoder(
    number: Callable[[str], Any], exact_integers: bool, allow_nan: bool
) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_float=number,
        parse_int=_exact_int if exact_integers else None,
        parse_constant=float if allow_nan else _refuse_constant,
    )


def _exact_int(text: str) -> int | JsonNumber:
    if text == "-0" or len(text) >= _MAX_INT_DIGITS:
        return JsonNumber(text)
    return int(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def dump(tree: object, depth: int = 0, float_text: Callable[[float], str] | None = None) -> str:
    r"""Writes a tree as compact JSON text.

    Args:
        tree: The tree.
        depth: The number of containers around it.
        float_text: What writes a float; `number_text` by default.

    Returns:
        The text: no white space, members in their order, numbers as they were written, lone
        surrogates as ``\u`` escapes and other characters as they are.
    """
    pieces: list[str] = []
    try:
        _dump(tree, depth, pieces.append, float_text or number_text)
    except RecursionError:
        raise ConversionError(TOO_DEEP) from None
    return "".join(pieces)


def dumped_size(tree: object) -> int:
    """How many bytes in UTF-8 the text has that `dump` writes, of which it keeps none."""
    size = 0

    def put(piece: str) -> None:
        nonlocal size
        size += len(piece) if piece.isascii() else len(piece.encode())

    _dump(tree, 0, put, number_text)
    return size


def dump_fast(tree: object, depth: int) -> str:
    """Writes a tree of `parse_fast` as `dump` writes that of `parse`.

    Raises:
        InexactError: The tree has a float, whose spelling is lost.
    """
    return dump(tree, depth, _refuse_float)


def _refuse_float(_: float) -> str:
    raise InexactError


def _dump(
    value: Any, depth: int, put: Callable[[str], None], float_text: Callable[[float], str]
) -> None:
    kind = type(value)
    if kind is str:
        put(_quote(value))
    elif kind is JsonNumber:
        put(str(value))
    elif value is None:
        put("null")
    elif kind is bool:
        put("true" if value else "false")
    elif kind is int:
        put(str(value))
    elif kind is float:
        put(float_text(value))
    elif depth >= MAX_DEPTH:
        raise ConversionError(TOO_DEEP)
    elif kind is list:
        separator = "["
        for item in value:
            put(separator)
            _dump(item, depth + 1, put, float_text)
            separator = ","
        put("]" if value else "[]")
    else:
        separator = "{"
        for key, item in value.items():
            put(separator)
            put(_quote(key))
            put(":")
            _dump(item, depth + 1, put, float_text)
            separator = ","
        put("}" if value else "{}")


def _quote(text: str) -> str:
    quoted = encode_basestring(text)
    if not quoted.isascii():
        quoted = _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)
    return quoted


def number_text(value: float) -> str:
    """The shortest decimal that is `value`; NaN and the infinities as JavaScript names them."""
    if math.isfinite(value):
        text = orjson.dumps(value).decode()
        return _UNSIGNED.sub("e+", text)  # versions of orjson differ in the sign
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def dump_bytes(tree: object) -> bytes:
    """Writes a tree as compact JSON text in UTF-8, as `dump` does, but faster.

    The tree has no float that is not finite.
    """
    try:
        return orjson.dumps(tree, default=_fragment, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except orjson.JSONEncodeError:  # a lone surrogate or an integer beyond 64 bits
        return dump(tree).encode()


def _fragment(value: object) -> orjson.Fragment:
    return orjson.Fragment(str(value))


def check_tree(value: object, *, allow_nan: bool = False, depth: int = 0) -> Any:
    """Turns Python values into a tree.

    Args:
        value: Mappings with string keys, lists and tuples, strings, numbers, booleans and None.
        allow_nan: Whether floats that are not finite are taken.
        depth: The number of containers around the value.

    Raises:
        ConversionError: A value is none of these, or nests deeper than MAX_DEPTH.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not allow_nan and not math.isfinite(value):
            raise ConversionError(
                f"{number_text(value)} is not JSON; pass allow_nan=True to keep it"
            )
        return float(value)
    if not isinstance(value, Mapping | list | tuple):
        raise ConversionError(f"expected a JSON value, got {type(value).__qualname__}")
    if depth >= MAX_DEPTH:
        raise ConversionError(TOO_DEEP)
    if isinstance(value, Mapping):
        members: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConversionError(f"expected a string as a member name, got {key!r}")
            if type(item) in _PLAIN:
                members[str.__str__(key)] = item
                continue
            try:
                members[str.__str__(key)] = check_tree(item, allow_nan=allow_nan, depth=depth + 1)
            except ConversionError as error:
                raise error.below(key) from None
        return members
    items: list[Any] = []
    for item in value:
        try:
            items.append(check_tree(item, allow_nan=allow_nan, depth=depth + 1))
        except ConversionError as error:
            raise error.below(len(items)) from None
    return items
