"""Messages to and from the typed objects of OpenAI's Python library.

Needs the extra ``chatpb[openai]``; nothing else of chatpb imports this module. The parameters of a
request are a plain dict in OpenAI's library: use `chatpb.from_dict` and `chatpb.to_dict`.
"""

from __future__ import annotations

from typing import Any, overload

from openai.types import chat

import chatpb.v1
from chatpb._mapping.convert import from_dict, to_dict

__all__ = ["from_openai", "to_openai"]


@overload
def from_openai(model: chat.ChatCompletion) -> chatpb.v1.ChatCompletion: ...
@overload
def from_openai(model: chat.ChatCompletionChunk) -> chatpb.v1.ChatCompletionChunk: ...
def from_openai(model: Any) -> Any:
    """Converts a completion or a chunk of OpenAI's library into a message.

    Args:
        model: What a call gave. Members that were not sent stay absent, and null stays null, for
            the object remembers what was set.

    Returns:
        The message, for the same JSON value as the one that the object came from.

    Raises:
        TypeError: The object is neither a completion nor a chunk.
    """
    for source, message_type in (
        (chat.ChatCompletion, chatpb.v1.ChatCompletion),
        (chat.ChatCompletionChunk, chatpb.v1.ChatCompletionChunk),
    ):
        if isinstance(model, source):
            members = model.to_dict(mode="json", exclude_unset=True, warnings=False)
            return from_dict(members, message_type, allow_nan=True)
    raise TypeError(f"expected a ChatCompletion or a ChatCompletionChunk, got {type(model)!r}")


@overload
def to_openai(message: chatpb.v1.ChatCompletion) -> chat.ChatCompletion: ...
@overload
def to_openai(message: chatpb.v1.ChatCompletionChunk) -> chat.ChatCompletionChunk: ...
def to_openai(message: Any) -> Any:
    """Converts a message into a completion or a chunk of OpenAI's library.

    The law: ``from_openai(to_openai(m))`` stands for the same JSON value as ``m``.

    Args:
        message: The message.

    Returns:
        The object as the library builds it from an answer: not validated, so that what servers
        send beside the documented schema is there too.

    Raises:
        TypeError: The message is neither a completion nor a chunk.
        ConversionError: The message stands for no JSON (see `chatpb.to_json`).
    """
    for message_type, target in (
        (chatpb.v1.ChatCompletion, chat.ChatCompletion),
        (chatpb.v1.ChatCompletionChunk, chat.ChatCompletionChunk),
    ):
        if isinstance(message, message_type):
            return target.construct(**to_dict(message, allow_nan=True))
    raise TypeError(f"expected a ChatCompletion or a ChatCompletionChunk, got {type(message)!r}")
