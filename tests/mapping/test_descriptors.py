"""The schema keeps its promises: nothing that is deployed changes, and its own rules hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from chatpb.v1 import options_pb2
from support.golden_files import (
    DESCRIPTORS,
    RENEW,
    WITHOUT_JSON,
    descriptor_lines,
    enums,
    files,
    is_map,
    lines_to_bytes,
    messages,
)

PROTO = Path(__file__).parents[2] / "proto"
RESIDUE = "chatpb.v1.Residue"


def each(descriptors: list[Descriptor] | list[EnumDescriptor]) -> pytest.MarkDecorator:
    rows = [pytest.param(descriptor, id=descriptor.name) for descriptor in descriptors]
    return pytest.mark.parametrize("descriptor", rows)


def is_union(message: Descriptor) -> bool:
    return message.GetOptions().Extensions[options_pb2.json_union]


OBJECTS = [
    message
    for message in messages()
    if message.full_name != RESIDUE
    and message.file.name not in WITHOUT_JSON
    and not is_union(message)
]
UNIONS = [message for message in messages() if is_union(message)]


def test_descriptors_are_those_of_the_golden_file() -> None:
    expected = DESCRIPTORS.read_text("utf-8").splitlines()
    actual = descriptor_lines()
    gone = [line for line in expected if line not in actual]
    new = [line for line in actual if line not in expected]
    assert (gone, new) == ([], []), RENEW
    assert expected == actual, RENEW


def test_golden_file_ends_its_lines_alike_everywhere() -> None:
    assert lines_to_bytes(descriptor_lines()) == DESCRIPTORS.read_bytes(), RENEW


@each(OBJECTS)
def test_object_has_a_residue(descriptor: Descriptor) -> None:
    field = descriptor.fields_by_name["residue"]
    assert field.number == 15
    assert field.message_type is not None
    assert field.message_type.full_name == RESIDUE


@each(UNIONS)
def test_union_has_members_of_which_one_is_set(descriptor: Descriptor) -> None:
    """A list cannot stand in a oneof, and a union that has one has no other rule."""
    in_oneof = {
        field.containing_oneof.name for field in descriptor.fields if field.containing_oneof
    }
    has_list = any(field.is_repeated for field in descriptor.fields)
    assert has_list or in_oneof == {"value"}


@each(enums())
def test_enum_starts_with_an_unspecified_value(descriptor: EnumDescriptor) -> None:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).upper() + "_"
    assert prefix + "UNSPECIFIED" == descriptor.values_by_number[0].name
    assert not [v.name for v in descriptor.values if not v.name.startswith(prefix)]


@each(messages())
def test_no_type_is_nested(descriptor: Descriptor) -> None:
    """The golden file describes none but the entries of maps."""
    maps = [field.message_type for field in descriptor.fields if is_map(field)]
    assert maps == list(descriptor.nested_types_by_name.values())
    assert not list(descriptor.enum_types_by_name)


@each(OBJECTS)
def test_what_unset_stands_for_is_json(descriptor: Descriptor) -> None:
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(options_pb2.json_unset):
            text = options.Extensions[options_pb2.json_unset]
            assert text == json.dumps(json.loads(text))
        other = options.Extensions[options_pb2.json_unset_utf8]
        if other:
            assert descriptor.fields_by_name[other].type == FieldDescriptor.TYPE_STRING


class Commented(NamedTuple):
    """A message, an enum or a field in the source, with the comment above it."""

    name: str
    number: int | None
    comment: str


_BLOCK = re.compile(r"\s*(message|enum|oneof|extend|service|rpc) ([\w.]+)(?:\(.*)? \{(\}?)$")
_FIELD = re.compile(r"\s*(?:optional |repeated )?(?:map<[^>]+>|[\w.]+) (\w+) = (\d+)\b")


def commented(path: Path) -> Iterator[Commented]:
    """The messages and the fields of a .proto file, less those of enums and extensions."""
    stack: list[tuple[str, str]] = []
    comment: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.strip().startswith("//"):
            comment.append(line.strip().removeprefix("//").strip())
            continue
        text = " ".join(comment)
        if block := _BLOCK.match(line):
            kind, name, is_empty = block.groups()
            if not is_empty:
                stack.append((kind, name))
            if kind == "message":
                yield Commented(name, None, text)
        elif line.strip() == "}":
            stack.pop()
        elif stack and stack[-1][0] in ("message", "oneof") and (found := _FIELD.match(line)):
            message = next(name for kind, name in reversed(stack) if kind == "message")
            yield Commented(f"{message}.{found[1]}", int(found[2]), text)
        comment = []


SOURCE = {entry.name: entry for file in files() for entry in commented(PROTO / file.name)}


def test_source_is_read_as_a_whole() -> None:
    expected = {
        name
        for message in messages()
        for name in (message.name, *(f"{message.name}.{field.name}" for field in message.fields))
    }
    assert expected == set(SOURCE)


@pytest.mark.parametrize("name", SOURCE)
def test_comment_says_what_it_is(name: str) -> None:
    """Of a field, also what it means to be unset; of a de facto field, that it is one."""
    entry = SOURCE[name]
    assert re.match(r"[A-Z].*\.$", entry.comment)
    if entry.number is None:
        assert name == entry.comment.split()[0]
    else:
        assert "Unset: " in entry.comment or "Empty: " in entry.comment
        assert (entry.number >= 100) == ("Not documented by OpenAI" in entry.comment)
