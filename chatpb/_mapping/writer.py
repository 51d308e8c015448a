"""Messages to JSON trees.

For each message type one writer is compiled from the descriptors: a function from a message to the
members of a JSON object, in the order in which api.openai.com sends them. docs/mapping.md has the
rules.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from chatpb._errors import ConversionError
from chatpb._mapping.line import compile_line
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

_AS_IS: Final = -1
_COPY: Final = -2
_MOST_PLANS: Final = 1000  # of a message type: any fields can be set in messages of others
_IGNORE: Final = "pass ignore_unknown_fields=True to leave it out"


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
# The fields that a message has, with their values; and without.
_Listed: TypeAlias = list[tuple[FieldDescriptor, Any]]
_Shape: TypeAlias = tuple[FieldDescriptor, ...]


class _Step(NamedTuple):
    """Writes one member of an object.

    Attributes:
        name: The name of the member.
        place: The place of the value among the fields that a message has; or _AS_IS or _COPY if
            the message has none.
        put: From there to the JSON value.
        rest: The step if there is no such value. None: there is no member.
        unset: The JSON value, if the message has none, as it is or to be copied.
        is_set: Whether the value is that of a field.
    """

    name: str
    place: int
    put: _Put
    rest: _Step | None
    unset: Any
    is_set: bool


def _compile(mapped: MessageType) -> tuple[_Put, Callable[[], None]]:
    return _compile_union(mapped) if mapped.is_union else _compile_object(mapped)


writer = Compiled(_compile)
"""The writer of a message type: from a message to a JSON object, or the value of a union."""


def _compile_object(mapped: MessageType) -> tuple[_Put, Callable[[], None]]:
    """The writer of an object, which plans once for each set of fields that messages have.

    Message types have many fields and messages few: to ask for each would take twice as long.
    """
    plans: dict[object, list[_Step]] = {}
    puts: dict[str, _Put] = {}

    def write(message: Any, context: Context) -> dict[str, Any]:
        listed = message.ListFields()
        shape = tuple([descriptor for descriptor, _ in listed])
        if mapped.residue in shape:
            return write_with_residue(listed, shape, context)
        steps = plans.get(shape)
        return _written(plan(shape, shape, {}) if steps is None else steps, listed, context)

    def write_with_residue(listed: _Listed, shape: _Shape, context: Context) -> dict[str, Any]:
        residue = listed[shape.index(mapped.residue)][1]
        extra = extra_members(residue, context.read)
        numbers = (residue.null_fields, residue.absent_fields, residue.empty_fields)
        key = (shape, *map(tuple, numbers))
        steps = plans.get(key)
        if steps is None:
            said = _said(mapped, residue, context)
            is_known = said.keys() <= mapped.by_number.keys()
            steps = plan(key if is_known else None, shape, said)
        if not extra:
            return _written(steps, listed, context)
        # Reading never sets a field whose member is there: it was set later.
        kept = [_if_set(step) if step.name in extra else step for step in steps]
        members = _written([step for step in kept if step], listed, context)
        return members | {name: value for name, value in extra.items() if name not in members}

    def plan(key: object, shape: _Shape, said: dict[int, Any]) -> list[_Step]:
        places = {descriptor: place for place, descriptor in enumerate(shape)}
        found = (
            _step(mapped, field, puts[field.name], places, said) for field in mapped.fields.values()
        )
        steps = [step for step in found if step is not None]
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        if key is not None:
            plans[key] = steps
        return steps

    def compile_fields() -> None:
        for field in mapped.fields.values():
            puts[field.name] = scope[f"put_{field.name}"] = _put_field(field)

    scope: dict[str, Any] = {"write": write}
    return compile_line(mapped, scope), compile_fields


def _written(steps: list[_Step], listed: _Listed, context: Context) -> dict[str, Any]:
    """The members that steps write.

    Args:
        steps: The steps.
        listed: The fields that the message has.
        context: How it is written.
    """
    members: dict[str, Any] = {}
    name = ""
    try:
        for name, place, put, rest, unset, _ in steps:
            if place < 0:
                members[name] = unset if place == _AS_IS else unset.copy()
                continue
            value = put(listed[place][1], context)
            if value is NOTHING:
                value = _value(rest, listed, context)
            if value is not NOTHING:
                members[name] = value
    except ConversionError as error:
        raise error.below(name) from None
    return members


def _value(step: _Step | None, listed: _Listed, context: Context) -> Any:
    """The JSON value that a step writes, or NOTHING."""
    if step is None:
        return NOTHING
    if step.place < 0:
        return step.unset if step.place == _AS_IS else step.unset.copy()
    value = step.put(listed[step.place][1], context)
    return _value(step.rest, listed, context) if value is NOTHING else value


def _if_set(step: _Step | None) -> _Step | None:
    """A step without the value of an unset field; None if it has no other."""
    return step._replace(rest=_if_set(step.rest)) if step is not None and step.is_set else None


def _step(
    mapped: MessageType,
    field: Field,
    put: _Put,
    places: dict[FieldDescriptor, int],
    said: dict[int, Any],
) -> _Step | None:
    """The step that writes a field; None if there is no member.

    Args:
        mapped: The message type.
        field: The field.
        put: From its value to the JSON value.
        places: The places of the fields that a message has.
        said: What the residue says of fields that are unset.
    """
    siblings = mapped.descriptor.fields_by_name
    unset = said.get(field.number, field.unset)
    step = None
    if field.unset_utf8 and field.number not in said:
        place = places.get(siblings[field.unset_utf8])
        unset = []
        if place is not None:
            step = _Step(field.name, place, _put_utf8, None, None, is_set=False)
    if step is None and unset is not NOTHING:
        place = _COPY if type(unset) in (list, dict) else _AS_IS
        step = _Step(field.name, place, put, None, unset, is_set=False)
    if field.alternative is not None and siblings[field.alternative] in places:
        place = places[siblings[field.alternative]]
        step = _Step(field.name, place, _put_raw, step, None, is_set=True)
    if field.descriptor in places:
        step = _Step(field.name, places[field.descriptor], put, step, None, is_set=True)
    return step


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


def _put_field(field: Field) -> _Put:
    """From the value of a field to its JSON value, or NOTHING."""
    if field.map_value is not None:
        return _put_map(field.map_value)
    return _put_list(field) if field.repeated else _put_value(field)


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
    fields: dict[FieldDescriptor, tuple[int, str, _Put]] = {}

    def write(message: Any, context: Context) -> Any:
        listed = message.ListFields()
        if len(listed) > 1:
            listed.sort(key=lambda item: fields[item[0]][0])
        found = NOTHING
        for descriptor, content in listed:
            _, name, put = fields[descriptor]
            value = put(content, context)
            if value is NOTHING:
                continue
            if found is not NOTHING:
                raise ConversionError(
                    f"expected one value, but {name} is set in addition to another"
                )
            found = value
        return [] if found is NOTHING and has_list else found

    def compile_fields() -> None:
        for place, field in enumerate(mapped.fields.values()):
            fields[field.descriptor] = (place, field.name, _put_field(field))

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


def _put_utf8(text: str, _context: Context) -> list[int]:
    return list(text.encode())


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
