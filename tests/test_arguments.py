"""Arguments of wrong types: one line, which is a `ChatpbError` and Python's own error as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import chatpb
from chatpb import openai, sse
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, Residue

COMPLETION: Any = ChatCompletion(id="secret")
TEXT = "JSON text as bytes or str"
MESSAGE = r"a message of chatpb\.v1"
CLASS = r"a message class of chatpb\.v1"
OBJECTS = "a ChatCompletion or a ChatCompletionChunk"


def _case(function: Callable[..., Any], *arguments: Any, expected: str, got: str) -> Any:
    what = "class" if expected == CLASS else "argument"
    name = f"{function.__qualname__}: {what} {got}"
    return pytest.param(function, arguments, f"expected {expected}, got {got}", id=name)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        *(
            _case(function, value, expected=TEXT, got=got)
            for function in (chatpb.from_json, chatpb.json_to_binary)
            for value, got in (
                ({"id": "secret"}, "a dict"),
                (5, "an int"),
                ([123], "a list"),
                (None, "None"),
                (COMPLETION, "a ChatCompletion"),
            )
        ),
        *(
            _case(chatpb.binary_to_json, value, expected="bytes", got=got)
            for value, got in (("secret", "a str"), (5, "an int"), (COMPLETION, "a ChatCompletion"))
        ),
        *(
            _case(function, data, kind, expected=CLASS, got=got)
            for function, data in (
                (chatpb.from_json, "{}"),
                (chatpb.json_to_binary, "{}"),
                (chatpb.binary_to_json, b""),
                (chatpb.from_dict, {}),
            )
            for kind, got in (
                ("ChatCompletion", "a str"),
                (COMPLETION, "a ChatCompletion"),
                (dict, "the class dict"),
                (None, "None"),
            )
        ),
        *(
            _case(function, value, expected=MESSAGE, got=got)
            for function in (chatpb.to_json, chatpb.to_dict, chatpb.residue, chatpb.clear_residue)
            for value, got in (
                ({"id": "secret"}, "a dict"),
                (b"secret", "a bytes"),
                (ChatCompletion, "the class ChatCompletion"),
                (None, "None"),
            )
        ),
        _case(chatpb.fold, [{"id": "secret"}], expected=MESSAGE, got="a dict"),
        _case(
            lambda completion: chatpb.fold([completion]),
            COMPLETION,
            expected="a ChatCompletionChunk",
            got="a ChatCompletion",
        ),
        _case(
            lambda chunk: list(chatpb.unfold(chunk)),
            ChatCompletionChunk(id="secret"),
            expected="a ChatCompletion",
            got="a ChatCompletionChunk",
        ),
        *(
            _case(chatpb.fold, value, expected="an iterable of chunks", got=got)
            for value, got in ((5, "an int"), (None, "None"), (COMPLETION, "a ChatCompletion"))
        ),
        _case(sse.event, "secret", expected="bytes", got="a str"),
        _case(sse.is_error, "secret", expected="bytes", got="a str"),
        _case(sse.Decoder().feed, "secret", expected="bytes", got="a str"),
        _case(sse.Decoder().feed, None, expected="bytes", got="None"),
        _case(sse.ChunkDecoder().feed, "secret", expected="bytes", got="a str"),
        _case(sse.ChunkDecoder().feed, 5, expected="bytes", got="an int"),
        _case(sse.Decoder, "5", expected="a number of bytes", got="a str"),
        _case(sse.ChunkDecoder, "5", expected="a number of bytes", got="a str"),
        _case(openai.from_openai, {"id": "secret"}, expected=OBJECTS, got="a dict"),
        _case(openai.to_openai, {"id": "secret"}, expected=OBJECTS, got="a dict"),
    ],
)
def test_a_wrong_type(function: Callable[..., Any], arguments: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=f"^{expected}$") as caught:
        function(*arguments)
    assert isinstance(caught.value, chatpb.ChatpbError)
    assert "secret" not in str(caught.value)


def test_a_message_that_mirrors_no_json() -> None:
    for function in (chatpb.to_json, chatpb.to_dict, chatpb.residue):
        with pytest.raises(TypeError, match=r"^chatpb\.v1\.Residue is neither") as caught:
            function(Residue())
        assert isinstance(caught.value, chatpb.ChatpbError)


def test_text_is_read_from_everything_with_bytes() -> None:
    text, binary = b'{"id":"a"}', ChatCompletionChunk(id="a").SerializeToString()
    for kind in (bytes, bytearray, memoryview):
        assert "a" == chatpb.from_json(kind(text)).id
        assert b'"a"' in chatpb.binary_to_json(kind(binary), ChatCompletionChunk)  # type: ignore[arg-type]
    assert "a" == chatpb.from_json(memoryview(b'{"id":"a"}' * 2)[:10]).id
