"""The promise: there is no JSON object that comes back changed, and no message either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import chatpb
from chatpb._mapping.schema import mapping_of
from support.equality import exact, tagged
from support.strategies import MIRRORS, json_objects, messages, values

kinds = pytest.mark.parametrize("kind", MIRRORS, ids=lambda kind: kind.__name__)


@kinds
@given(data=st.data())
def test_json_comes_back_equal(kind: type[Message], data: st.DataObject) -> None:
    members = data.draw(json_objects(mapping_of(kind)))
    text = json.dumps(members)

    message = chatpb.from_json(text, kind)

    assert exact(text) == exact(chatpb.to_json(message))
    assert tagged(members) == tagged(chatpb.to_dict(message))
    assert tagged(members) == tagged(chatpb.to_dict(chatpb.from_dict(members, kind)))


@kinds
@given(data=st.data())
def test_what_from_json_gives_is_in_normal_form(kind: type[Message], data: st.DataObject) -> None:
    text = json.dumps(data.draw(json_objects(mapping_of(kind))))
    message = chatpb.from_json(text, kind)

    assert message == chatpb.from_json(chatpb.to_json(message), kind)
    binary = chatpb.json_to_binary(text, kind)
    assert message == kind.FromString(binary)
    assert binary == chatpb.json_to_binary(chatpb.binary_to_json(binary, kind), kind)


@kinds
@given(data=st.data())
def test_every_message_has_a_normal_form(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))

    text = chatpb.to_json(message)
    normal = chatpb.from_json(text, kind)

    assert exact(text) == exact(chatpb.to_json(normal))
    assert normal == chatpb.from_json(chatpb.to_json(normal), kind)


@kinds
@given(data=st.data())
def test_the_order_of_documented_members_never_matters(
    kind: type[Message], data: st.DataObject
) -> None:
    mapped = mapping_of(kind)
    members = data.draw(json_objects(mapped))
    fits = {
        name: value
        for name, value in members.items()
        if name in mapped.fields and not _extra(kind, {name: value})
    }
    shuffled = dict(data.draw(st.permutations(list(fits.items()))))

    assert chatpb.json_to_binary(json.dumps(fits), kind) == chatpb.json_to_binary(
        json.dumps(shuffled), kind
    )


def _extra(kind: type[Message], members: dict[str, Any]) -> list[Any]:
    return [m for m in chatpb.residue(chatpb.from_dict(members, kind)) if m.state == "extra"]


@given(text=st.binary() | st.text() | values.map(json.dumps))
def test_input_is_read_or_refused(text: bytes | str) -> None:
    try:
        message = chatpb.from_json(text)
    except chatpb.ConversionError as caught:
        error = caught
    else:
        assert exact(text) == exact(chatpb.to_json(message))
        return
    assert error.path.startswith("$")
    assert error.offset is not None


@given(data=st.binary())
def test_binary_input_is_read_or_refused(data: bytes) -> None:
    try:
        text = chatpb.binary_to_json(data, ignore_unknown_fields=True, allow_nan=True)
    except chatpb.ConversionError:
        return
    chatpb.from_json(text, allow_nan=True)
