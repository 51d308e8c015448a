"""Converts messages to and from the typed objects of OpenAI's Python library.

Needs the extra ``chatpb[openai]``; nothing else of chatpb imports this module. OpenAI's library
takes the parameters of a request as a plain dict: use `chatpb.from_dict` and `chatpb.to_dict`.
"""

from __future__ import annotations

from typing import Any, overload

import chatpb.v1
from chatpb._errors import wrong_type
from chatpb._extras import raise_hint
from chatpb._mapping.convert import from_dict, to_dict

try:
    from openai.types import chat
    from pydantic_core import to_jsonable_python
except ModuleNotFoundError as missing:
    raise_hint("chatpb.openai", missing)

__all__ = ["from_openai", "to_openai"]


@overload
def from_openai(model: chat.ChatCompletion) -> chatpb.v1.ChatCompletion: ...
@overload
def from_openai(model: chat.ChatCompletionChunk) -> chatpb.v1.ChatCompletionChunk: ...
def from_openai(model: Any) -> Any:
    """Converts a completion or a chunk of OpenAI's library into a message.

    Args:
        model: The result of a call. Members that were not sent stay absent, and null stays null,
            because the object remembers which of its members were set.

    Returns:
        The message for the JSON value that the object was made from.

    Raises:
        TypeError: The object is neither a completion nor a chunk.
    """
    for source, message_type in (
        (chat.ChatCompletion, chatpb.v1.ChatCompletion),
        (chat.ChatCompletionChunk, chatpb.v1.ChatCompletionChunk),
    ):
        if isinstance(model, source):
            members = model.to_dict(mode="python", exclude_unset=True, warnings=False)
            # The mode "json" makes null of a number that is not finite.
            return from_dict(to_jsonable_python(members), message_type, allow_nan=True)
    raise wrong_type("a ChatCompletion or a ChatCompletionChunk", model)


@overload
def to_openai(message: chatpb.v1.ChatCompletion) -> chat.ChatCompletion: ...
@overload
def to_openai(message: chatpb.v1.ChatCompletionChunk) -> chat.ChatCompletionChunk: ...
def to_openai(message: Any) -> Any:
    """Converts a message into a completion or a chunk of OpenAI's library.

    The law: ``from_openai(to_openai(m))`` has the same JSON value as ``m``.

    Args:
        message: The message.

    Returns:
        The object as the library builds it from an answer. It is not validated, so members that
        the documented schema does not have are included.

    Raises:
        TypeError: The message is neither a completion nor a chunk.
        ConversionError: The message cannot be written as JSON (see `chatpb.to_json`).
    """
    for message_type, target in (
        (chatpb.v1.ChatCompletion, chat.ChatCompletion),
        (chatpb.v1.ChatCompletionChunk, chat.ChatCompletionChunk),
    ):
        if isinstance(message, message_type):
            return target.construct(**to_dict(message, allow_nan=True))
    raise wrong_type("a ChatCompletion or a ChatCompletionChunk", message)
