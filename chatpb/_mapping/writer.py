"""Messages to JSON trees.

For each message type one writer is compiled from the descriptors: a function from a message to the
members of a JSON object, in the order in which api.openai.com sends them. docs/mapping.md has the
rules.
"""

from __future__ import annotations

import base64
import keyword
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from math import copysign, isfinite
from operator import attrgetter
from typing import Any, Final, TypeAlias

from chatpb._errors import ConversionError
from chatpb._mapping.residue import extra_members
from chatpb._mapping.schema import (
    ARRAY,
    BASE64,
    FLOATS,
    NOTHING,
    RAW,
    Compiled,
    Field,
    MessageType,
    key_name,
)
from chatpb._mapping.text import number_text
from chatpb.v1.residue_pb2 import Residue

_IGNORE = "pass ignore_unknown_fields=True to leave it out"


@dataclass(slots=True)
class Context:
    """How messages are written.

    Attributes:
        parse: Reads the JSON text of free values.
        allow_nan: Whether numbers that are not finite are written.
        ignore_unknown: Whether what the schema does not know is left out instead of an error.
        free_brackets: Number of opening brackets in free-form values: an upper bound on how much
            deeper than the schema the tree can nest.
        may_be_infinite: Whether the tree may have a number that is not finite.
    """

    parse: Callable[[str], Any]
    allow_nan: bool = False
    ignore_unknown: bool = False
    free_brackets: int = 0
    may_be_infinite: bool = False

    def read(self, text: str) -> Any:
        """Reads the JSON text of a free value."""
        self.free_brackets += text.count("{") + text.count("[")
        if self.allow_nan and ("NaN" in text or "Infinity" in text):
            self.may_be_infinite = True
        return self.parse(text)


# From a value of a message to its JSON value, or NOTHING.
_Put: TypeAlias = Callable[[Any, Context], Any]
# Adds the member of a field to those of its object, if there is one.
_Write: TypeAlias = Callable[[Any, dict[str, Any], Context], None]


def _compile(mapped: MessageType) -> tuple[_Put, Callable[[], None]]:
    return _compile_union(mapped) if mapped.is_union else _compile_object(mapped)


writer = Compiled(_compile)
"""The writer of a message type: from a message to a JSON object, or the value of a union."""


def _compile_object(mapped: MessageType) -> tuple[_Put, Callable[[], None]]:
    writes: dict[str, Any] = {}
    writes_by_state: list[tuple[str, int, _Write, _Write]] = []

    def write_all(message: Any, context: Context) -> dict[str, Any]:
        residue = getattr(message, residue_name)
        extra, said = extra_members(residue, context.read), _said(mapped, residue, context)
        members: dict[str, Any] = {}
        for name, number, write_set, write_unset in writes_by_state:
            try:
                write_set(message, members, context)
            except ConversionError as error:
                raise error.below(name) from None
            if name in members:
                # Reading never sets both: the field was set later.
                extra.pop(name, None)
                continue
            if name in extra:
                continue
            if number not in said:
                write_unset(message, members, context)
            elif said[number] is not NOTHING:
                members[name] = said[number]
        members.update(extra)
        return members

    def compile_fields() -> None:
        for field in mapped.fields.values():
            name, write_unset = field.name, _write_unset(field)
            writes[f"write_{name}"] = _write_field(field, _write_alternative(field, write_unset))
            write_set = _write_field(field, _write_alternative(field, _write_nothing))
            writes_by_state.append((name, field.number, write_set, write_unset))

    assert mapped.residue is not None
    residue_name = mapped.residue.name
    return _straight_line(mapped, residue_name, write_all, writes), compile_fields


def _straight_line(
    mapped: MessageType, residue_name: str, write_all: _Put, scope: dict[str, Any]
) -> _Put:
    """Generates the writer of messages that have no residue, with a line or two for each field.

    A loop over functions, one for each field, would take a third longer.

    Args:
        mapped: The message type.
        residue_name: The field of the residue.
        write_all: Writes messages that have one.
        scope: The names that the writer uses: as ``write_x`` the function that writes field ``x``,
            which may come later.
    """
    lines = [
        "def write(message, context):",
        "    has = message.HasField",
        f"    if has({residue_name!r}): return with_residue(message, context)",
        "    members = {}",
        "    try:",
        "        name = None",
    ]
    for name, field in mapped.fields.items():
        call = f"name = {name!r}; write_{name}(message, members, context)"
        if keyword.iskeyword(name) or keyword.iskeyword(field.unset_utf8 or ""):
            lines.append(f"        {call}")
        elif field.unset_utf8 and field.alternative is None:
            lines += [
                f"        if has({name!r}): {call}",
                f"        else: members[{name!r}] = list(message.{field.unset_utf8}.encode())",
            ]
        elif not field.has_presence and not field.is_list and _put_value(field) in _QUICK:
            lines += [
                f"        value = message.{name}",
                f"        if value{_QUICK[_put_value(field)]}: members[{name!r}] = value",
                f"        else: {call}",
            ]
        elif field.unset is NOTHING and field.alternative is None and field.has_presence:
            is_plain = field.message is None and _put_value(field) is _put_as_is
            line = f"members[{name!r}] = message.{name}" if is_plain else call
            lines.append(f"        if has({name!r}): {line}")
        else:
            lines.append(f"        {call}")
    lines += [
        "    except ConversionError as error:",
        "        raise error.below(name) from None",
        "    return members",
    ]
    scope |= {"ConversionError": ConversionError, "isfinite": isfinite, "with_residue": write_all}
    source, name = "\n".join(lines) + "\n", f"<writer of {mapped.descriptor.full_name}>"
    # So that tracebacks show its lines. Without a time, checkcache() keeps it.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)
    write: _Put = scope["write"]
    return write


def _said(mapped: MessageType, residue: Residue, context: Context) -> dict[int, Any]:
    """The values in the JSON of fields that are unset, by their numbers; NOTHING for no member."""
    said: dict[int, Any] = dict.fromkeys(residue.absent_fields, NOTHING)
    said.update(dict.fromkeys(residue.null_fields))
    for number in residue.empty_fields:
        field = mapped.by_number.get(number)
        if field is not None and not field.is_list:
            raise ConversionError(f"empty_fields names {field.name}, which is not a list or a map")
        said[number] = {} if field is not None and field.map_value is not None else []
    if not context.ignore_unknown:
        for number in said:
            if number not in mapped.by_number:
                raise ConversionError(
                    f"the residue names field {number}, which the schema does not know; {_IGNORE}"
                )
    return said


def _write_nothing(_message: Any, _members: dict[str, Any], _context: Context) -> None:
    pass


def _write_unset(field: Field) -> _Write:
    """Writes what an unset field stands for."""
    name, unset = field.name, field.unset
    if field.unset_utf8:
        get_text = attrgetter(field.unset_utf8)

        def write_unset_utf8(message: Any, members: dict[str, Any], _: Context) -> None:
            members[name] = list(get_text(message).encode())

        return write_unset_utf8
    if unset is NOTHING:
        return _write_nothing
    if type(unset) in (list, dict):

        def write_copy(_message: Any, members: dict[str, Any], _context: Context) -> None:
            members[name] = unset.copy()

        return write_copy

    def write_unset(_message: Any, members: dict[str, Any], _context: Context) -> None:
        members[name] = unset

    return write_unset


def _write_alternative(field: Field, write_unset: _Write) -> _Write:
    """Writes the value in the field that shares the member, or else what `write_unset` does."""
    name, alternative = field.name, field.alternative
    if alternative is None:
        return write_unset

    def write_alternative(message: Any, members: dict[str, Any], context: Context) -> None:
        if message.HasField(alternative):
            members[name] = _put_raw(getattr(message, alternative), context)
        else:
            write_unset(message, members, context)

    return write_alternative


def _write_field(field: Field, write_unset: _Write) -> _Write:
    """Writes the value of a field, or what `write_unset` does if it is unset."""
    name = field.name
    get = attrgetter(name)
    if field.is_list:
        put_all = _put_map(field.map_value) if field.map_value is not None else _put_list(field)

        def write_list(message: Any, members: dict[str, Any], context: Context) -> None:
            values = put_all(get(message), context)
            if values:
                members[name] = values
            else:
                write_unset(message, members, context)

        return write_list
    put = _put_value(field)
    is_plain = put is _put_as_is

    def write_present(message: Any, members: dict[str, Any], context: Context) -> None:
        if message.HasField(name):
            value = get(message) if is_plain else put(get(message), context)
            if value is not NOTHING:
                members[name] = value
                return
        write_unset(message, members, context)

    def write_plain(message: Any, members: dict[str, Any], context: Context) -> None:
        value = get(message)
        if value:
            members[name] = value
        else:
            write_unset(message, members, context)

    def write_double(message: Any, members: dict[str, Any], context: Context) -> None:
        value = get(message)
        if not isfinite(value):
            members[name] = put(value, context)
        # Minus zero is a value of its own.
        elif value or copysign(1, value) < 0:
            members[name] = value
        else:
            write_unset(message, members, context)

    def write_value(message: Any, members: dict[str, Any], context: Context) -> None:
        value = get(message)
        value = put(value, context) if value else NOTHING
        if value is not NOTHING:
            members[name] = value
        else:
            write_unset(message, members, context)

    if field.has_presence:
        return write_present
    if is_plain:
        return write_plain
    return write_double if put is _put_double else write_value


def _put_list(field: Field) -> _Put:
    put = _put_element(field)

    def put_list(elements: Any, context: Context) -> list[Any]:
        values: list[Any] = []
        try:
            # One by one, so that in an error their count is the index of the one that failed.
            values.extend(map(put, elements, repeat(context)))
        except ConversionError as error:
            raise error.below(len(values)) from None
        return values

    return put_list


def _put_map(field: Field) -> _Put:
    put = _put_element(field)

    def put_map(entries: Any, context: Context) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key in sorted(entries):
            name = key_name(key)
            try:
                values[name] = put(entries[key], context)
            except ConversionError as error:
                raise error.below(name) from None
        return values

    return put_map


def _put_element(field: Field) -> _Put:
    """From an element of a list or a map to its JSON value, which must exist."""
    put = _put_value(field)
    if field.enum is None and (field.message is None or not field.message.is_union):
        return put

    def put_element(element: Any, context: Context) -> Any:
        value = put(element, context)
        if value is NOTHING:
            raise ConversionError("expected a value, got an unset one")
        return value

    return put_element


def _compile_union(mapped: MessageType) -> tuple[_Put, Callable[[], None]]:
    writes: list[tuple[str, _Write]] = []

    def write(message: Any, context: Context) -> Any:
        found: dict[str, Any] = {}
        for name, write_field in writes:
            write_field(message, found, context)
            if len(found) > 1:
                raise ConversionError(
                    f"expected one value, but {name} is set in addition to another"
                )
        return next(iter(found.values()), [] if has_list else NOTHING)

    def compile_fields() -> None:
        writes.extend(
            (field.name, _write_field(field, _write_nothing)) for field in mapped.fields.values()
        )

    has_list = any(field.repeated for field in mapped.fields.values())
    return write, compile_fields


def _put_value(field: Field) -> _Put:
    """From a value of a field to its JSON value; NOTHING from an enum or a union that is unset."""
    if field.message is not None:
        return writer(field.message)
    if field.enum is not None:
        return _put_enum(field)
    if field.encoding == ARRAY:
        return lambda value, _: list(value)
    if field.encoding == BASE64:
        return lambda value, _: base64.b64encode(value).decode()
    if field.encoding == RAW:
        return _put_raw
    if field.descriptor.type in FLOATS:
        return _put_double
    return _put_as_is


def _put_as_is(value: Any, _context: Context) -> Any:
    return value


def _put_enum(field: Field) -> _Put:
    assert field.enum is not None
    words = field.enum.words

    def put_enum(value: int, context: Context) -> Any:
        word = words.get(value, NOTHING)
        if word is NOTHING and value and not context.ignore_unknown:
            raise ConversionError(f"{value} is a value that the schema does not know; {_IGNORE}")
        return word

    return put_enum


def _put_raw(text: str, context: Context) -> Any:
    try:
        return context.read(text)
    except ConversionError as error:
        raise ConversionError(f"expected JSON text: {error}") from None


def _put_double(value: float, context: Context) -> float:
    if not isfinite(value):
        if not context.allow_nan:
            raise ConversionError(
                f"{number_text(value)} is not JSON; pass allow_nan=True to keep it"
            )
        context.may_be_infinite = True
    return value


# The scalars that are their own JSON values, with the further condition if they are not zero.
_QUICK: Final[dict[_Put, str]] = {_put_as_is: "", _put_double: " and isfinite(value)"}
