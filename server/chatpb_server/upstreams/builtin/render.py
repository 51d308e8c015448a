"""Answers in the JSON that api.openai.com sends, member for member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

from chatpb_server.upstreams.builtin.model import Answer, Call

_SYSTEM_FINGERPRINT: Final = "fp_c4a7b1d90e"


def completion(
    envelope: dict[str, Any], answers: Sequence[Answer], usage: dict[str, Any]
) -> dict[str, Any]:
    """The whole completion.

    Args:
        envelope: The members ``id``, ``created``, ``model`` and ``service_tier``.
        answers: The choices.
        usage: The usage.
    """
    return {
        "id": envelope["id"],
        "object": "chat.completion",
        "created": envelope["created"],
        "model": envelope["model"],
        "choices": [_choice(index, answer) for index, answer in enumerate(answers)],
        "usage": usage,
        "service_tier": envelope["service_tier"],
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }


def chunks(
    envelope: dict[str, Any],
    answers: Sequence[Answer],
    usage: dict[str, Any] | None,
) -> Iterator[dict[str, Any]]:
    """The chunks of a stream, the choices by turns; a last one with the usage if that is given."""
    head = {
        "id": envelope["id"],
        "object": "chat.completion.chunk",
        "created": envelope["created"],
        "model": envelope["model"],
        "service_tier": envelope["service_tier"],
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }
    tail = {} if usage is None else {"usage": None}
    for turn in zip_longest(*(_chunk_choices(answer) for answer in answers)):
        for index, choice in enumerate(turn):
            if choice is not None:
                yield {**head, "choices": [{"index": index, **choice}], **tail}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The usage, with its details."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(index: int, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if not answer.calls:
        message["content"] = "".join(piece.text for piece in answer.pieces)
    elif answer.legacy:
        message["function_call"] = _function(answer.calls[0])
    else:
        message["tool_calls"] = [_tool_call(call, "".join(call.pieces)) for call in answer.calls]
    message |= {"refusal": None, "annotations": []}
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs([entry for piece in answer.pieces for entry in piece.logprobs]),
        "finish_reason": answer.finish_reason,
    }


def _chunk_choices(answer: Answer) -> Iterator[dict[str, Any]]:
    """The pieces of a choice, without its index."""
    first = {"role": "assistant", "content": None if answer.calls else "", "refusal": None}
    yield _delta(first)
    for piece in answer.pieces:
        yield {
            "delta": {"content": piece.text},
            "logprobs": _logprobs(piece.logprobs),
            "finish_reason": None,
        }
    for index, call in enumerate(answer.calls):
        if answer.legacy:
            yield _delta({"function_call": {"name": call.tool.name, "arguments": ""}})
        else:
            yield _delta({"tool_calls": [{"index": index, **_tool_call(call, "")}]})
        for text in call.pieces:
            if answer.legacy:
                yield _delta({"function_call": {"arguments": text}})
            else:
                kind = call.tool.kind
                piece_of_call = {"index": index, kind: {_TEXT[kind]: text}}
                yield _delta({"tool_calls": [piece_of_call]})
    yield {"delta": {}, "logprobs": None, "finish_reason": answer.finish_reason}


# Where each kind of call has its text.
_TEXT: Final = {"function": "arguments", "custom": "input"}


def _tool_call(call: Call, text: str) -> dict[str, Any]:
    kind = call.tool.kind
    return {"id": call.id, "type": kind, kind: {"name": call.tool.name, _TEXT[kind]: text}}


def _function(call: Call) -> dict[str, Any]:
    return {"name": call.tool.name, "arguments": "".join(call.pieces)}


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"delta": delta, "logprobs": None, "finish_reason": None}


def _logprobs(entries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return {"content": list(entries), "refusal": None} if entries else None
