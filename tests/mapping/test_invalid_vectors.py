"""What is refused: texts that are no JSON object, and bytes that are no message."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError

from chatpb import ConversionError, binary_to_json, from_json, json_to_binary, to_json
from chatpb.v1 import ChatCompletion, Residue
from support.golden_files import RENEW
from support.invalid_vectors import (
    INVALID,
    MANIFEST,
    InvalidVector,
    agrees,
    golden,
    invalid_vectors,
)


def of_form(form: str) -> list[Any]:
    return [pytest.param(v, id=v.name) for v in invalid_vectors() if v.form == form]


@pytest.mark.parametrize("vector", of_form("json"))
@pytest.mark.parametrize("read", [from_json, json_to_binary])
def test_text_is_refused(read: Any, vector: InvalidVector) -> None:
    with pytest.raises(ConversionError) as caught:
        read(vector.path.read_bytes(), vector.message_type)
    assert agrees(caught.value, vector.entry), (caught.value, RENEW)


@pytest.mark.parametrize("vector", of_form("binary"))
def test_bytes_are_refused(vector: InvalidVector) -> None:
    with pytest.raises(ConversionError) as caught:
        binary_to_json(vector.path.read_bytes(), vector.message_type)
    assert agrees(caught.value, vector.entry), (caught.value, RENEW)


@pytest.mark.parametrize("vector", of_form("binary"))
def test_messages_are_refused(vector: InvalidVector) -> None:
    try:
        message = vector.message_type.FromString(vector.path.read_bytes())
    except DecodeError:
        assert vector.entry["reason"].startswith("not the binary form of a chatpb.v1.")
        return
    with pytest.raises(ConversionError) as caught:
        to_json(message)
    assert agrees(caught.value, vector.entry), (caught.value, RENEW)


def test_files_are_those_of_the_manifest() -> None:
    expected = {vector.path for vector in invalid_vectors()}
    assert expected == set(INVALID.iterdir()) - {MANIFEST}
    assert len(expected) == len(invalid_vectors())
    [(path, content)] = golden()
    assert path.read_bytes() == content, RENEW


@pytest.mark.parametrize(
    ("member", "opening", "closing", "step", "offset"),
    [
        pytest.param('{"x":', "[", "]", "[0]", 5 + 199, id="arrays"),
        pytest.param('{"x":', '{"a":', "}", ".a", 5 + 199 * 5, id="objects"),
        pytest.param('{"choices":', "[", "]", "[0]", 11 + 199, id="arrays in a known member"),
    ],
)
def test_text_deeper_than_200_levels_is_refused(
    member: str, opening: str, closing: str, step: str, offset: int
) -> None:
    """The outermost object is the first level."""

    def nested(levels: int) -> str:
        inner = levels - 1
        return member + opening * inner + "0" + closing * inner + "}"

    assert from_json(nested(200)).residue.extra_json == nested(200)
    with pytest.raises(ConversionError) as caught:
        from_json(nested(201))
    name = member[2:-2]
    assert (f"$.{name}" + step * 199, offset) == (caught.value.path, caught.value.offset)
    assert caught.value.reason == "nested deeper than 200 levels"


def test_bytes_deeper_than_200_levels_are_refused() -> None:
    def nested(levels: int) -> bytes:
        extra = '{"x":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
        return ChatCompletion(residue=Residue(extra_json=extra)).SerializeToString()

    assert b'"x":[[[' in binary_to_json(nested(200))
    with pytest.raises(ConversionError, match="nested deeper than 200 levels"):
        binary_to_json(nested(201))
