"""What is refused: texts that are no JSON object, and bytes that are no message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatpb import ConversionError, binary_to_json, from_json, json_to_binary
from chatpb.v1 import ChatCompletion, Residue
from support.golden_files import VECTORS, message_class

INVALID = VECTORS / "invalid"
ENTRIES: list[dict[str, Any]] = json.loads((INVALID / "manifest.json").read_bytes())


def of_form(form: str) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in ENTRIES if entry["form"] == form]


@pytest.mark.parametrize("entry", of_form("json"))
@pytest.mark.parametrize("read", [from_json, json_to_binary])
def test_text_is_refused(read: Any, entry: dict[str, Any]) -> None:
    text = (INVALID / f"{entry['name']}.json").read_bytes()
    with pytest.raises(ConversionError) as caught:
        read(text, message_class(entry["message_type"]))
    assert (entry["path"], entry["offset"]) == (caught.value.path, caught.value.offset)
    assert entry["reason"] in caught.value.reason


@pytest.mark.parametrize("entry", of_form("binary"))
def test_bytes_are_refused(entry: dict[str, Any]) -> None:
    data = (INVALID / f"{entry['name']}.binpb").read_bytes()
    with pytest.raises(ConversionError) as caught:
        binary_to_json(data, message_class(entry["message_type"]))
    assert (entry["path"], None) == (caught.value.path, caught.value.offset)
    assert entry["reason"] in caught.value.reason


def test_files_are_those_of_the_manifest() -> None:
    endings = {"json": "json", "binary": "binpb"}
    expected = {f"{entry['name']}.{endings[entry['form']]}" for entry in ENTRIES}
    assert expected == {path.name for path in INVALID.iterdir()} - {"manifest.json"}
    assert len(expected) == len(ENTRIES)


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
