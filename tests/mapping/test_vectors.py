"""The golden vectors: JSON, binary and text forms that every implementation must agree on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from chatpb import binary_to_json, from_dict, from_json, json_to_binary, residue, to_dict, to_json
from chatpb._mapping.canonical import canonical
from support.equality import exact, tagged
from support.field_assertions import to_lines
from support.golden_files import (
    BINARY_VECTORS,
    RENEW,
    VECTORS,
    WITHOUT_JSON,
    BinaryVector,
    Vector,
    binary_vectors,
    enums,
    messages,
    serialized,
    text_of,
    vectors,
)

ALL = vectors()

each = pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.name) for vector in ALL])

# Messages without a JSON form, which tests of the service and of hand-made bytes cover.
_ENVELOPES = {message.full_name for message in messages() if message.file.name in WITHOUT_JSON}

# A string, kept as it is, or a sign of JSON's, round which white space may stand.
_TOKEN = re.compile(rb'("(?:[^"\\]|\\.)*")|([\[\]{},:])')


@each
def test_json_gives_the_bytes(vector: Vector) -> None:
    assert vector.binary == json_to_binary(vector.json, vector.message_type), RENEW


@each
def test_bytes_give_the_json(vector: Vector) -> None:
    assert exact(vector.json) == exact(binary_to_json(vector.binary, vector.message_type))


@each
def test_json_gives_the_message(vector: Vector) -> None:
    message = from_json(vector.json, vector.message_type)
    assert vector.message_type.FromString(vector.binary) == message


@each
def test_text_says_what_each_field_holds(vector: Vector) -> None:
    message = vector.message_type.FromString(vector.binary)
    assert text_format.Parse(vector.text, vector.message_type()) == message
    assert vector.text == text_of(message), RENEW


@each
def test_serializing_gives_the_same_bytes(vector: Vector) -> None:
    assert vector.binary == canonical(vector.message_type.FromString(vector.binary))


@each
def test_json_that_is_written_gives_the_same_bytes(vector: Vector) -> None:
    """What JSON is read into is already in its normal form."""
    text = to_json(from_json(vector.json, vector.message_type))
    assert vector.binary == json_to_binary(text, vector.message_type)


@each
def test_white_space_changes_nothing(vector: Vector) -> None:
    spaced = _TOKEN.sub(rb" \r\n\1\2\t ", vector.json.removeprefix(b"\xef\xbb\xbf"))
    assert vector.binary == json_to_binary(spaced, vector.message_type)


@each
def test_dicts_are_what_json_reads(vector: Vector) -> None:
    """A dict loses the spelling of numbers, and no more."""
    members = json.loads(vector.json.decode("utf-8-sig"))
    assert tagged(members) == tagged(to_dict(from_json(vector.json, vector.message_type)))
    message = from_dict(members, vector.message_type, allow_nan=True)  # 1e400 is inf in Python
    assert tagged(members) == tagged(to_dict(message, allow_nan=True))


@each
def test_residue_is_empty_where_the_manifest_says_so(vector: Vector) -> None:
    found = residue(vector.message_type.FromString(vector.binary))
    assert vector.residue == bool(found), found


@pytest.mark.parametrize(
    ("name", "lexemes"),
    [
        pytest.param(
            "numbers",
            [
                "1744857525.254391",
                '"index":1e0}',
                '"index":-0}',
                '"presence_penalty":1e400,"cost":0.00000537',
                "[1E5,1e5,100000,1.0,1.50,-0.0,-0,5.37e-06,123456789012345678901234567890,"
                "0.1000000000000000055511151231257827,1E+2,-1e-400]",
            ],
            id="numbers",
        ),
        pytest.param("extra_everywhere", ['{"z":[1,2.50,{"y":[],"x":{}}],"a":""}'], id="extra"),
        pytest.param("completion_order", ['{"zeta":1,"alpha":{"b":1,"a":2}}'], id="order"),
        pytest.param("duplicates", ['{"x":3,"y":2}'], id="duplicates"),
        pytest.param("surrogates", ['"key \\ud800":{"\\udfff":["\\ud83d\\ud83d"]}'], id="escapes"),
        pytest.param("names_that_trip", ['"\'":3,"\\"":4,"\\\\":5,"\\n":6,"ключ":7'], id="names"),
        pytest.param(
            "request_everything",
            ['{"zebra":{"type":"number","default":1.50},"apple":{"enum":[1E5,0.00000537,null]}}'],
            id="schema",
        ),
        pytest.param(
            "request_schema_text",
            ['{"z":2,"a":[0.10,-0,1e-7],"A":"é<\\ud800\\"\\\\/\\n","":null}'],
            id="free JSON",
        ),
    ],
)
def test_spelling_survives(name: str, lexemes: list[str]) -> None:
    """Free JSON is the same text, but for white space, escapes and duplicates, in both forms."""
    (vector,) = (vector for vector in ALL if vector.name == name)
    written = binary_to_json(vector.binary, vector.message_type)
    for lexeme in lexemes:
        assert lexeme.encode() in vector.binary
        assert lexeme.strip("{}").encode() in written


def test_files_are_those_of_the_manifest() -> None:
    names = [vector.name for vector in ALL]
    for ending in ("json", "binpb", "txtpb", "fields.json"):
        found = {path.name.split(".")[0] for path in VECTORS.glob(f"*.{ending}")} - {"manifest"}
        assert set(names) == found
    assert len(names) == len(set(names))


def test_every_field_occurs() -> None:
    expected = {
        field.full_name
        for message in messages()
        if message.full_name not in _ENVELOPES
        for field in message.fields
    }
    found = {
        field.full_name
        for part in _all_parts()
        for field, _ in part.ListFields()  # set fields only
    }
    missing = sorted(expected - found)
    assert not missing


def test_every_enum_value_occurs() -> None:
    expected = {
        f"{enum.full_name}.{value.name}"
        for enum in enums()
        if enum.file.name != "chatpb/v1/options.proto"
        for value in enum.values
        if value.number != 0  # unspecified, which has no word
    }
    found = {
        f"{field.enum_type.full_name}.{field.enum_type.values_by_number[number].name}"
        for part in (*_all_parts(), *_parts_without_json())
        for field, value in part.ListFields()
        if field.enum_type is not None
        for number in (value if field.is_repeated else [value])
        if number in field.enum_type.values_by_number
    }
    missing = sorted(expected - found)
    assert not missing


def test_every_state_of_the_residue_occurs_in_every_family() -> None:
    expected = {"null", "absent", "empty", "extra"}
    for root in ("ChatCompletion", "ChatCompletionChunk", "ChatCompletionRequest"):
        found = {
            member.state
            for vector in ALL
            if vector.message_type.DESCRIPTOR.name == root
            for member in residue(vector.message_type.FromString(vector.binary))
        }
        assert expected == found


def _all_parts() -> Iterator[Message]:
    for vector in ALL:
        yield from _parts(vector.message_type.FromString(vector.binary))


def _parts_without_json() -> Iterator[Message]:
    for vector in binary_vectors():
        if vector.is_valid:
            yield from _parts(vector.message)


def _parts(message: Message) -> Iterator[Message]:
    """A message and the messages in it, residues too."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    yield from _parts(item)
        else:
            for item in value if field.is_repeated else [value]:
                yield from _parts(item)


each_of_bytes = pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector.name) for vector in binary_vectors()]
)


@each_of_bytes
def test_bytes_are_those_of_the_manifest(vector: BinaryVector) -> None:
    """The files, which other languages read, are made of the manifest."""
    path = BINARY_VECTORS / f"{vector.name}.binpb"
    assert path.read_bytes() == vector.binary, RENEW


@each_of_bytes
def test_bytes_give_the_message(vector: BinaryVector) -> None:
    if not vector.is_valid:
        with pytest.raises(DecodeError):
            assert vector.message
        return
    message = vector.message
    place = BINARY_VECTORS / vector.name
    assert place.with_suffix(".fields.json").read_bytes() == to_lines(message), RENEW
    assert place.with_suffix(".canonical.binpb").read_bytes() == serialized(message), RENEW
    assert vector.has_unknown_fields == any(
        len(UnknownFieldSet(part)) > 0 for part in _parts(message)
    )


@each
def test_fields_are_asserted(vector: Vector) -> None:
    message = vector.message_type.FromString(vector.binary)
    assert (VECTORS / f"{vector.name}.fields.json").read_bytes() == to_lines(message), RENEW


def test_every_field_without_json_occurs() -> None:
    expected = {
        field.full_name
        for message in messages()
        if message.full_name in _ENVELOPES
        for field in message.fields
    }
    found = {field.full_name for part in _parts_without_json() for field, _ in part.ListFields()}
    assert set() == expected - found
