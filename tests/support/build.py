"""Builders of what most tests send: requests, completions, chunks and errors.

All are JSON values, except what `completion_request`, `create_request` and `stream_request`
make: messages.
"""

from __future__ import annotations

from typing import Any, Final

from chatpb import from_dict
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    StreamChatCompletionRequest,
)

PING: Final[dict[str, Any]] = {"model": "m", "messages": [{"role": "user", "content": "ping"}]}
USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def completion_request(**members: Any) -> ChatCompletionRequest:
    """The request PING; `members` are added to it or replace its own."""
    return from_dict(PING | members, ChatCompletionRequest)


def create_request(**members: Any) -> CreateChatCompletionRequest:
    """The request of a unary call (see `completion_request`)."""
    return CreateChatCompletionRequest(request=completion_request(**members))


def stream_request(**members: Any) -> StreamChatCompletionRequest:
    """The request of a streaming call (see `completion_request`)."""
    return StreamChatCompletionRequest(request=completion_request(**members))


def choice(content: str | None, index: int = 0, **message: Any) -> dict[str, Any]:
    """A choice of a completion; `message` has more members of its message."""
    return {
        "index": index,
        "message": {"role": "assistant", "content": content, "refusal": None, **message},
        "logprobs": None,
        "finish_reason": "tool_calls" if content is None else "stop",
    }


def completion(*choices: Any, **members: Any) -> dict[str, Any]:
    """A completion; `members` are added to the usual ones or replace them."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **members,
    }


COMPLETION: Final = completion(
    choice("pong", annotations=[]), system_fingerprint=None, x_vendor={"a": [1.50, None]}
)


def delta(
    content: str | None, reason: str | None = None, *, index: int = 0, **members: Any
) -> dict[str, Any]:
    """A choice of a chunk: its delta has the content, unless that is None, and `members`."""
    text = {} if content is None else {"content": content}
    return {"index": index, "delta": text | members, "logprobs": None, "finish_reason": reason}


def chunk_of(*choices: Any, **members: Any) -> dict[str, Any]:
    """A chunk; `members` are added to the usual ones or replace them."""
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": None,
        "choices": list(choices),
        **members,
    }


def chunk(
    content: str | None, reason: str | None = None, *, index: int = 0, **members: Any
) -> dict[str, Any]:
    """A chunk with one choice (see `delta`)."""
    return chunk_of(delta(content, reason, index=index, **members))


def error_object(message: str, **members: Any) -> dict[str, Any]:
    """OpenAI's error object; `members` are added to the usual ones or replace them."""
    return {"error": {"message": message, "type": "t", "param": None, "code": None, **members}}
