"""JSON objects and messages of every type of the schema, built from the descriptors.

Strategies are built once for each type: building costs more than drawing an example.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

import chatpb.v1
from chatpb._mapping.schema import (
    ARRAY,
    BASE64,
    INTEGER_RANGES,
    RAW,
    Field,
    MessageType,
    key_name,
    mapping_of,
)

MIRRORS: list[type[Message]] = [
    kind
    for name in chatpb.v1.__all__
    if isinstance(kind := getattr(chatpb.v1, name), type)
    and issubclass(kind, Message)
    and any(field.name == "residue" for field in kind.DESCRIPTOR.fields)
]

texts = st.text(st.characters(), max_size=6)  # lone surrogates too
utf8_texts = st.text(st.characters(codec="utf-8"), max_size=6)
integers = st.integers() | st.integers(min_value=-3, max_value=3) | st.integers(2**62, 2**70)
finite = st.floats(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
scalars = st.none() | st.booleans() | integers | finite | texts
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SPELLINGS = [
    *["0", "-0", "-0.0", "0.0", "-0e0", "1.0", "1E2", "1e-400", "-1e-400", "1e400", "-1e400", "01"],
    *["9007199254740993", "9007199254740993.0", "0.1000000000000000055511151231257827", "5e-324"],
    *[
        str(sign * 2**bits + step)
        for sign in (1, -1)
        for bits in (31, 63, 64)
        for step in (-1, 0, 1)
    ],
    *["9223372036854775807.0", "9223372036854774784.0", "9223372036854775808.0", "1e19"],
    *[str(2**100), str(2**100 + 1), "9" * 308, "9" * 309, "9" * 5000, "NaN", "-Infinity"],
]


@st.composite
def json_texts(draw: st.DrawFn, mapped: MessageType) -> bytes:
    """Texts of JSON objects with numbers in any spelling and members that appear twice."""
    spellings = st.none() | st.sampled_from(_SPELLINGS)
    members = []
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        text = json.dumps(draw(json_objects(mapped)), ensure_ascii=draw(st.booleans()))
        text = _NUMBER.sub(lambda match: draw(spellings) or match.group(), text)
        members.append(text[1:-1])
    return f"{{{','.join(filter(None, members))}}}".encode("utf-8", "surrogatepass")


@functools.cache
def json_objects(mapped: MessageType, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with members of a message type, right or wrong in kind, and unknown members."""
    known: dict[str, st.SearchStrategy[Any]] = {
        name: _fitting(field, depth) | st.none() | st.just([]) | st.just({}) | values
        for name, field in mapped.fields.items()
    }
    # A few members at a time, or all of them: both matter, and objects stay small.
    some = st.lists(st.sampled_from(sorted(known)), unique=True, max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({name: known[name] for name in names})
    )
    no_members = ["residue", *_alternatives(mapped)]  # the names of fields that have none
    others = st.dictionaries(texts | st.sampled_from(no_members), values, max_size=2)
    return st.builds(lambda *parts: {**parts[0], **parts[1]}, others, some)


def _alternatives(mapped: MessageType) -> list[str]:
    """The fields that share the member of another."""
    return [field.alternative for field in mapped.fields.values() if field.alternative]


def _fitting(field: Field, depth: int) -> st.SearchStrategy[Any]:
    """JSON values that fit a field."""
    if field.map_value is not None:
        names = _keys(field).map(key_name) | texts
        return st.dictionaries(names, _fitting(field.map_value, depth), max_size=2)
    single = _fitting_value(field, depth)
    unset = [] if field.unset is None or repr(field.unset) == "NOTHING" else [field.unset]
    if field.repeated:
        return st.lists(single, max_size=3) | st.sampled_from([[], *unset])
    return single | st.sampled_from(unset) if unset else single


def _keys(field: Field) -> st.SearchStrategy[Any]:
    """Keys of a map."""
    if field.map_key == FieldDescriptor.TYPE_STRING:
        return utf8_texts
    if field.map_key == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return _integers(field.map_key)


def _integers(kind: int) -> st.SearchStrategy[int]:
    least, most = INTEGER_RANGES[kind]
    return st.integers(least, most) | st.integers(max(least, -3), 3)


def _fitting_value(field: Field, depth: int) -> st.SearchStrategy[Any]:
    if field.message is not None:
        if depth == 0:
            return st.just({})
        if field.message.is_union:
            return st.one_of([_fitting(f, depth - 1) for f in field.message.fields.values()])
        return st.deferred(lambda: json_objects(field.message, depth - 1))
    if field.enum is not None:
        return st.sampled_from(sorted(field.enum.numbers)) | texts
    if field.encoding == ARRAY:
        return st.lists(st.integers(0, 255) | st.booleans() | integers, max_size=4)
    if field.encoding == BASE64:
        return st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode()) | texts
    if field.encoding == RAW:
        return values
    kind = field.descriptor.type
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return finite | integers
    if kind == FieldDescriptor.TYPE_FLOAT:
        return floats | finite | integers
    if kind in INTEGER_RANGES:
        return _integers(kind) | integers
    if kind == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return texts


def messages(kind: type[Message], depth: int = 4) -> st.SearchStrategy[Message]:
    """Messages as a program may build them: any values, and residues that the schema knows."""
    return _arguments(mapping_of(kind), depth).map(lambda arguments: kind(**arguments))


@functools.cache
def _arguments(mapped: MessageType, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: _argument(field, depth) for name, field in mapped.fields.items()}
    if mapped.is_union:
        return st.sampled_from(sorted(fields)).flatmap(
            lambda name: st.fixed_dictionaries({name: fields[name]})
        )
    fields |= dict.fromkeys(_alternatives(mapped), values.map(json.dumps))
    some = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )
    return st.builds(
        lambda arguments, residue: {**arguments, **residue},
        some,
        st.just({}) | st.fixed_dictionaries({"residue": _residues(mapped)}),
    )


@functools.cache
def _residues(mapped: MessageType) -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.sampled_from(sorted(mapped.by_number))
    lists = sorted(n for n, field in mapped.by_number.items() if field.is_list)
    names = texts | st.sampled_from(sorted(mapped.fields))
    return st.fixed_dictionaries(
        {
            "null_fields": st.lists(numbers, max_size=2),
            "absent_fields": st.lists(numbers, max_size=2),
            "empty_fields": st.lists(st.sampled_from(lists), max_size=2) if lists else st.just([]),
            "extra_json": st.dictionaries(names, values, max_size=2).map(json.dumps) | st.just(""),
        }
    )


def _argument(field: Field, depth: int) -> st.SearchStrategy[Any]:
    if field.map_value is not None:
        value = _argument_value(field.map_value, depth)
        if field.map_value.message is not None:
            kind = field.map_value.message.message_class
            value = value.map(lambda arguments: kind(**arguments))
        return st.dictionaries(_keys(field), value, max_size=2)
    value = _argument_value(field, depth)
    if field.enum is not None and field.repeated:
        value = value.filter(bool)  # an unset enum has no word that an array could contain
    return st.lists(value, max_size=2) if field.repeated else value


def _argument_value(field: Field, depth: int) -> st.SearchStrategy[Any]:
    if field.message is not None:
        if depth == 0:
            return st.just({})
        return st.deferred(lambda: _arguments(field.message, depth - 1))
    if field.enum is not None:
        return st.sampled_from([0, *field.enum.words])
    if field.encoding == RAW:
        return values.map(json.dumps)
    kind = field.descriptor.type
    if kind in INTEGER_RANGES:
        return st.integers(*INTEGER_RANGES[kind])
    by_type: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=4),
        FieldDescriptor.TYPE_DOUBLE: finite,
        FieldDescriptor.TYPE_FLOAT: floats,
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_STRING: utf8_texts,
    }
    return by_type[kind]
