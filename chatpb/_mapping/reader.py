"""JSON trees to messages.

For each message type a reader is compiled from the descriptors: a function from the members of a
JSON object to the arguments of the message's constructor. docs/mapping.md has the rules. There are
two readers for each type, for the trees of two parsers.
"""

from __future__ import annotations

import base64
import binascii
import enum
import math
import re
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from chatpb._mapping.schema import (
    ARRAY,
    BASE64,
    FLOATS,
    INTEGER_RANGES,
    NOTHING,
    RAW,
    Compiled,
    Field,
    MessageType,
    key_name,
)
from chatpb._mapping.text import InexactError, JsonNumber, dump, dump_fast
from chatpb.v1 import residue_pb2

_Members: TypeAlias = dict[str, Any]
_Read: TypeAlias = Callable[[_Members, int], dict[str, Any]]
# From a JSON value, the number of containers around it, and the members of its object to the value
# of the field, or an _Outcome.
_Fit: TypeAlias = Callable[[Any, int, _Members], Any]

_INFINITIES = (math.inf, -math.inf)
_BEYOND_64_BITS: Final = 2.0**63
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_FLOAT: Final = struct.Struct("<f")
_NULLS, _ABSENT, _EMPTIES, _EXTRA = (field.name for field in residue_pb2.Residue.DESCRIPTOR.fields)


class _Outcome(enum.Enum):
    """What happens to a member whose value is not stored in the field."""

    UNSET = enum.auto()  # it is what an unset field stands for
    EMPTY = enum.auto()  # it is [] or {}
    MISFIT = enum.auto()  # it goes to the residue unchanged


_UNSET, _EMPTY, _MISFIT = _Outcome


class _Source:
    """The parser that trees come from: what depends on how it keeps numbers.

    Args:
        dump: Writes a free value, given the number of containers around it.
        fit_double: The fit of a double.

    Attributes:
        reader: The reader of a message type that mirrors a JSON object.
        union: The fit of a message type that mirrors a union.
    """

    def __init__(self, dump: Callable[[object, int], str], fit_double: _Fit) -> None:
        self.dump = dump
        self.fit_double = fit_double
        self.reader = Compiled(self._compile)
        self.union = Compiled(self._compile_union)

    def _compile(self, mapped: MessageType) -> tuple[_Read, Callable[[], None]]:
        return _compile(mapped, self)

    def _compile_union(self, mapped: MessageType) -> tuple[_Fit, Callable[[], None]]:
        return _compile_union(mapped, self)


def _compile(mapped: MessageType, source: _Source) -> tuple[_Read, Callable[[], None]]:
    dump = source.dump
    fits: dict[str, _Fit] = {}

    def read(members: _Members, depth: int) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        extra: _Members = {}
        nulls: list[int] = []
        empties: list[int] = []
        below = depth + 1
        for name, value in members.items():
            fit = fits.get(name)
            if fit is None:
                extra[name] = value
            elif value is None:
                if name not in null_when_unset:
                    nulls.append(mapped.fields[name].number)
            else:
                result = fit(value, below, members)
                if result.__class__ is not _Outcome:
                    fitted[name] = result
                elif result is _MISFIT:
                    if name in alternatives and type(value) in (list, dict):
                        fitted[alternatives[name]] = dump(value, below)
                    else:
                        extra[name] = value
                elif result is _EMPTY:
                    empties.append(mapped.fields[name].number)
        is_whole = len(members) == len(fits) or expected <= members.keys()
        if extra or nulls or empties or not is_whole:
            fitted[residue_name] = _residue(members, extra, nulls, empties, depth)
        return fitted

    def _residue(
        members: _Members,
        extra: _Members,
        nulls: list[int],
        empties: list[int],
        depth: int,
    ) -> dict[str, Any]:
        residue: dict[str, Any] = {}
        if nulls:
            residue[_NULLS] = sorted(nulls)
        absent = sorted(mapped.fields[name].number for name in expected - members.keys())
        if absent:
            residue[_ABSENT] = absent
        if empties:
            residue[_EMPTIES] = sorted(empties)
        if extra:
            residue[_EXTRA] = dump(extra, depth)
        return residue

    def compile_fields() -> None:
        fits.update((field.name, _fit_field(field, source)) for field in mapped.fields.values())

    assert mapped.residue is not None
    residue_name = mapped.residue.name
    expected = {
        field.name
        for field in mapped.fields.values()
        if field.unset is not NOTHING or field.unset_utf8
    }
    alternatives = {
        field.name: field.alternative for field in mapped.fields.values() if field.alternative
    }
    null_when_unset = {field.name for field in mapped.fields.values() if field.unset is None}
    return read, compile_fields


def _fit_field(field: Field, source: _Source) -> _Fit:
    """The fit of a member: of its value, list or not, and of what an unset field stands for."""
    if field.unset_utf8:
        return _fit_utf8(field, source)
    fit = _fit_list(field, source) if field.is_list else _fit_value(field, source)
    unset, kind = field.unset, type(field.unset)
    loses_zero = field.zero is not NOTHING
    if loses_zero and (kind, unset) == (type(field.zero), field.zero):
        return fit
    if not loses_zero and (unset is NOTHING or unset is None):
        return fit

    def fit_unless_unset(value: Any, depth: int, members: _Members) -> Any:
        if value == unset and type(value) is kind:
            return _UNSET
        result = fit(value, depth, members)
        # Without presence a zero value cannot be told from an unset field.
        return _MISFIT if not result and loses_zero and not _is_minus_zero(result) else result

    return fit_unless_unset


def _is_minus_zero(result: Any) -> bool:
    return type(result) is float and math.copysign(1, result) < 0


def _fit_list(field: Field, source: _Source) -> _Fit:
    if field.map_value is not None:
        return _fit_map(field, field.map_value, source)
    if field.message is not None and not field.message.is_union:
        read = source.reader(field.message)

        def fit_messages(value: Any, depth: int, _: _Members) -> Any:
            if type(value) is not list:
                return _MISFIT
            result = []
            for item in value:
                if type(item) is not dict:
                    return _MISFIT
                result.append(read(item, depth + 1))
            return result or _EMPTY

        return fit_messages
    fit = _fit_value(field, source)

    def fit_scalars(value: Any, depth: int, members: _Members) -> Any:
        if type(value) is not list:
            return _MISFIT
        result = [fit(item, depth + 1, members) for item in value]
        if _MISFIT in result:
            return _MISFIT
        return result or _EMPTY

    return fit_scalars


def _fit_map(field: Field, values: Field, source: _Source) -> _Fit:
    fit, read_key = _fit_value(values, source), _read_key(field)
    message_class = values.message and values.message.message_class

    def fit_map(value: Any, depth: int, members: _Members) -> Any:
        if type(value) is not dict:
            return _MISFIT
        result = {}
        for key, item in value.items():
            name = read_key(key)
            fitted = fit(item, depth + 1, members)
            if fitted is _MISFIT or name is None:
                return _MISFIT
            result[name] = message_class(**fitted) if message_class else fitted
        return result or _EMPTY

    return fit_map


def _read_key(field: Field) -> Callable[[str], str | int | None]:
    """From the name of a member to the key of an entry; None if it is not one."""
    kind = field.map_key
    if kind == FieldDescriptor.TYPE_STRING:
        return lambda name: name if _is_utf8(name) else None
    if kind == FieldDescriptor.TYPE_BOOL:
        return {"false": False, "true": True}.get
    least, most = INTEGER_RANGES[kind]

    def read_integer(name: str) -> int | None:
        if not _INTEGER.fullmatch(name):
            return None
        key = int(name)
        return key if least <= key <= most and key_name(key) == name else None

    return read_integer


def _fit_value(field: Field, source: _Source) -> _Fit:
    """The fit of a single value."""
    if field.message is not None:
        if field.message.is_union:
            return source.union(field.message)
        return _fit_message(field.message, source)
    if field.enum is not None:
        return _fit_enum(field)
    if field.encoding == ARRAY:
        return _fit_byte_array
    if field.encoding == BASE64:
        return _fit_base64
    if field.encoding == RAW:
        return lambda value, depth, _: _MISFIT if value is None else source.dump(value, depth)
    kind = field.descriptor.type
    if kind == FieldDescriptor.TYPE_STRING:
        return _fit_string
    if kind in FLOATS:
        is_float = kind == FieldDescriptor.TYPE_FLOAT
        return _fit_float(source.fit_double) if is_float else source.fit_double
    if kind == FieldDescriptor.TYPE_BOOL:
        return lambda value, _, __: value if type(value) is bool else _MISFIT
    least, most = INTEGER_RANGES[kind]
    return lambda value, _, __: value if type(value) is int and least <= value <= most else _MISFIT


def _fit_message(mapped: MessageType, source: _Source) -> _Fit:
    read = source.reader(mapped)
    return lambda value, depth, _: read(value, depth) if type(value) is dict else _MISFIT


def _compile_union(mapped: MessageType, source: _Source) -> tuple[_Fit, Callable[[], None]]:
    fits: list[tuple[str, _Fit]] = []
    has_list = any(field.repeated for field in mapped.fields.values())

    def fit_union(value: Any, depth: int, members: _Members) -> Any:
        if value == [] and has_list:
            return {}
        for name, fit in fits:
            result = fit(value, depth, members)
            if type(result) is not _Outcome:
                return {name: result}
        return _MISFIT

    def compile_fields() -> None:
        fits.extend(
            (field.name, (_fit_list if field.is_list else _fit_value)(field, source))
            for field in mapped.fields.values()
        )

    return fit_union, compile_fields


def _fit_enum(field: Field) -> _Fit:
    assert field.enum is not None
    numbers = field.enum.numbers
    return lambda value, _, __: numbers.get(value, _MISFIT) if type(value) is str else _MISFIT


def _is_utf8(text: str) -> bool:
    """Whether a string has no lone surrogate, which protobuf cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fit_string(value: Any, _depth: int, _members: _Members) -> Any:
    if type(value) is str and (value.isascii() or _is_utf8(value)):
        return value
    return _MISFIT


def _fit_double(value: Any, _depth: int, _members: _Members) -> Any:
    kind = type(value)
    if kind is JsonNumber:
        number = float(value)
        return _MISFIT if number in _INFINITIES else number
    if kind is float:
        return value
    if kind is not int:
        return _MISFIT
    try:
        number = float(value)
    except OverflowError:
        return _MISFIT
    return number if number == value else _MISFIT


def _fit_fast_double(value: Any, depth: int, members: _Members) -> Any:
    if type(value) is not float:
        return _fit_double(value, depth, members)
    if -_BEYOND_64_BITS < value < _BEYOND_64_BITS:
        return value
    raise InexactError  # it may be an integer that no double holds


def _fit_float(fit_double: _Fit) -> _Fit:
    """The fit of a float, which takes the doubles that it holds exactly."""

    def fit_float(value: Any, depth: int, members: _Members) -> Any:
        number = fit_double(value, depth, members)
        if type(number) is not float:
            return number
        try:
            held: float = _FLOAT.unpack(_FLOAT.pack(number))[0]
        except OverflowError:
            return _MISFIT
        return number if held == number or math.isnan(number) else _MISFIT

    return fit_float


def _fit_byte_array(value: Any, _depth: int, _members: _Members) -> Any:
    if type(value) is not list:
        return _MISFIT
    try:
        data = bytes(value)
    except (TypeError, ValueError):
        return _MISFIT
    # Python takes true and false for 1 and 0.
    if (0 in data or 1 in data) and bool in map(type, value):
        return _MISFIT
    return data


def _fit_utf8(field: Field, source: _Source) -> _Fit:
    """The fit of bytes that are most often the UTF-8 of a string of the same object."""
    fit, text_name = _fit_value(field, source), field.unset_utf8 or ""

    def fit_utf8(value: Any, depth: int, members: _Members) -> Any:
        data = fit(value, depth, members)
        text = members.get(text_name)
        try:
            utf8 = text.encode() if type(text) is str else b""
        except UnicodeEncodeError:
            utf8 = b""
        return _UNSET if data == utf8 else data

    return fit_utf8


def _fit_base64(value: Any, _depth: int, _members: _Members) -> Any:
    if type(value) is not str:
        return _MISFIT
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return _MISFIT
    return data if base64.b64encode(data) == value.encode() else _MISFIT


reader = _Source(dump, _fit_double).reader
"""The reader of a message type that mirrors a JSON object, for trees of `parse`."""

fast_reader = _Source(dump_fast, _fit_fast_double).reader
"""The same for trees of `parse_fast`. It raises InexactError where `reader` might differ."""
