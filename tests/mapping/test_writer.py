"""Tracebacks show the generated writers; a transcoder that declines is asked once."""

from __future__ import annotations

import json
import linecache
import traceback
from typing import Any

import pytest

import chatpb
from chatpb._mapping import convert
from chatpb._mapping import writer as writer_module
from chatpb._mapping.schema import mapping_of
from chatpb._mapping.writer import Context, writer
from chatpb.v1 import Choice, TopLogprob


class _Broken:
    """A message that cannot be read."""

    def HasField(self, _: str) -> bool:  # noqa: N802
        return False


def test_a_traceback_shows_the_generated_line() -> None:
    write = writer(mapping_of(TopLogprob))
    with pytest.raises(AttributeError) as caught:
        write(_Broken(), Context(lambda text: text))
    linecache.checkcache()

    frames = traceback.extract_tb(caught.tb)
    frame = next(f for f in frames if f.filename == "<writer of chatpb.v1.TopLogprob>")
    assert frame.name == "write_line"
    assert frame.line == "members['token'] = message.token"


class _Declining:
    """A transcoder that declines everything and counts how often it is asked."""

    asked = 0

    def binary_to_json(self, _data: bytes, _number: int, *_options: bool) -> None:
        self.asked += 1

    def json_to_binary(self, _data: bytes, _number: int, _allow_nan: bool) -> None:
        self.asked += 1


def test_a_transcoder_that_declines_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice(index=1)
    conversions: list[tuple[Any, ...]] = [
        (chatpb.binary_to_json, choice.SerializeToString(), Choice),
        (chatpb.to_json, choice),
        (chatpb.json_to_binary, chatpb.to_json(choice), Choice),
        (chatpb.from_json, chatpb.to_json(choice), Choice),
    ]
    for convert_, *arguments in conversions:
        transcoder = _Declining()
        monkeypatch.setattr(convert, "transcoder", transcoder)
        monkeypatch.setattr(convert, "native_type", lambda _: 0)
        monkeypatch.setattr(convert, "_METHODS", {})
        convert_(*arguments)
        assert 1 == transcoder.asked


def test_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of others can have any fields, so that there can be very many plans."""
    monkeypatch.setattr(writer_module, "_MOST_PLANS", 2)
    write = writer(mapping_of(Choice))
    for numbers in ([1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]) * 2:
        choice = Choice()
        choice.residue.absent_fields.extend(numbers)
        tree = write(choice, Context(json.loads))
        fields = [field.name for field in Choice.DESCRIPTOR.fields if field.number in numbers]
        assert not set(fields) & tree.keys()
