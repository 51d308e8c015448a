"""What an upstream is asked to answer, encoded in the name of the model."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from chatpb import json_to_binary
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import StreamChatCompletionRequest
from common.documents import SENTENCE, completion, stream, text

SERVICE: Final = "/chatpb.v1.ChatCompletionService/"
_MODEL: Final = re.compile(rb"bench-(\d+)-(\d+)-(\d+)-(\d+)")
_LEAST: Final = 3  # the chunks of a stream without text


@dataclass(frozen=True)
class Plan:
    """How an answer comes.

    Attributes:
        chunks: How many chunks the stream has; 0 for one whole completion.
        group: How many chunks are written at once.
        gap_ms: How long the upstream waits from one write to the next. 0: for one turn of its loop.
        size: How many bytes of text a completion has. 0: a sentence.
    """

    chunks: int = 0
    group: int = 1
    gap_ms: int = 0
    size: int = 0

    @property
    def model(self) -> str:
        """The name of the model that answers in this way."""
        return f"bench-{self.chunks}-{self.group}-{self.gap_ms}-{self.size}"

    @property
    def is_short(self) -> bool:
        """Whether an answer is over almost as soon as it has begun."""
        return self.chunks <= _LEAST and not self.gap_ms

    @property
    def rpc(self) -> str:
        """The path of the rpc that asks for it."""
        return SERVICE + ("StreamChatCompletion" if self.chunks else "CreateChatCompletion")

    def request(self) -> bytes:
        """The request, as JSON."""
        question = {"role": "user", "content": SENTENCE}
        members = {"model": self.model, "messages": [question]}
        return text(members | ({"stream": True} if self.chunks else {}))

    def request_message(self, *, compact: bool = False) -> bytes:
        """The request of the rpc, in binary.

        Args:
            compact: Whether it asks for compact chunks, as the client of chatpb does.
        """
        message = field_1(json_to_binary(self.request(), ChatCompletionRequest))
        if compact and self.chunks:
            message += StreamChatCompletionRequest(compact=True).SerializeToString()
        return message

    @classmethod
    def of(cls, request: bytes) -> Plan:
        """Reads the plan of a request, in JSON or in binary.

        Raises:
            ValueError: The request names no plan.
        """
        found = _MODEL.search(request)
        if not found:
            raise ValueError(f"expected a model named bench-N-N-N-N in {request[:200]!r}")
        return cls(*map(int, found.groups()))


@cache
def documents_of(plan: Plan) -> list[list[bytes]]:
    """The chunks of a stream, or its one completion, in JSON, as they are written together."""
    if not plan.chunks:
        return [[text(completion(_text(plan.size) if plan.size else SENTENCE))]]
    chunks = list(stream(max(plan.chunks - _LEAST, 0)))
    return [chunks[start : start + plan.group] for start in range(0, len(chunks), plan.group)]


def _text(size: int) -> str:
    words = SENTENCE.split()
    sentences = (" ".join(random.Random(turn).sample(words, len(words))) for turn in range(64))
    page = " ".join(sentences)
    return (page * (size // len(page) + 1))[:size]


def answer_message(document: bytes, *, is_chunk: bool) -> bytes:
    """The answer of the rpc that holds one completion or one chunk, in binary."""
    return field_1(json_to_binary(document, ChatCompletionChunk if is_chunk else ChatCompletion))


def field_1(value: bytes) -> bytes:
    """A message with another in its field 1."""
    length, size = bytearray(), len(value)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes([*length, size]) + value
