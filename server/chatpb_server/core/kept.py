"""What is kept of a running call for the store of completions, and what is stored of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from google.protobuf.message import DecodeError

from chatpb import ConversionError
from chatpb._wire import WireError, begun, embedded, spans, without
from chatpb.store import StoredCompletion
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.offload import apart, stepwise, threaded
from chatpb_server.core.reading import folded
from chatpb_server.core.record_fields import ending
from chatpb_server.core.store_rules import Outcome
from chatpb_server.core.stored_limits import check_metadata
from chatpb_server.core.upstream import RequestBody, RequestError

if TYPE_CHECKING:
    from chatpb_server.core.storing import Storing

#: How many bytes are held of all running calls for the store, in each process.
_MOST_HELD: Final = 256 * 1024 * 1024
#: A chunk in a list takes so many bytes more than its own, and to fold it takes as long.
_EACH: Final = 200
#: So many chunks are put together in one step.
_STEP: Final = 1024
_NAMED: Final = frozenset(
    (
        ChatCompletion.ID_FIELD_NUMBER,
        ChatCompletion.MODEL_FIELD_NUMBER,
        ChatCompletion.CREATED_FIELD_NUMBER,
    )
)
_METADATA: Final = frozenset((ChatCompletionRequest.METADATA_FIELD_NUMBER,))


class UnfitError(Exception):
    """A completion that cannot be stored. The text quotes nothing of it."""


class Kept:
    """What is kept of a running call for the store.

    Args:
        owner: What stores it.
        call: The call.
        body: What it asks.

    Attributes:
        call: The argument.
        obstacle: Why it cannot be stored; None if nothing is known against it.
        is_handed_over: Whether the store has it now.
    """

    def __init__(self, owner: Storing, call: Call, body: RequestBody) -> None:
        self.call = call
        self.obstacle: Outcome | None = None
        self.is_handed_over = False
        self._owner = owner
        self._body = body
        self._held = 0
        self._size = 0
        self._chunks: list[bytes] = []
        self._completion: bytes | None = None
        self._is_put = False
        self._start_us = time.time_ns() // 1000 - self._now_us()
        self._hold(len(body.given[0]))

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks that came, in their whole form."""
        if self._hold(sum(map(len, chunks)), len(chunks)):
            self._chunks += chunks

    async def answered(self, completion: bytes) -> None:
        """Stores a completion, which the upstream has answered with."""
        if self._hold(len(completion)):
            self._completion = completion
        await self._owner.put(self)

    async def ended(self) -> None:
        """Stores the completion that the chunks make, once."""
        if not self._is_put:
            self._is_put = True
            await self._owner.put(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops what is kept."""
        self._owner.held -= self._held
        self._held = 0
        self._chunks = []
        self._completion = None

    async def completion(self) -> StoredCompletion:
        """What is stored.

        Raises:
            UnfitError: It cannot be stored.
        """
        try:
            request = await self._body.binary()
            answer = self._completion
            if answer is None:
                chunks = await stepwise(self._held, _joined, self._chunks)
                answer = await apart(self._held, folded, chunks)
            about = ChatCompletion.FromString(await _fields(answer, _NAMED))
            asked = ChatCompletionRequest.FromString(await _fields(request, _METADATA))
            if not about.id:
                about.id = f"chatcmpl-{uuid.uuid4().hex}"
                answer = await stepwise(len(answer), _with_id, answer, about.id)
        except RequestError:
            raise UnfitError("the request has no binary form") from None
        except (ConversionError, DecodeError, WireError):
            raise UnfitError("the chunks make no completion") from None
        metadata = dict(asked.metadata)
        try:
            check_metadata(metadata)
        except RefusalError:
            raise UnfitError("its metadata is not what OpenAI allows") from None
        model = about.model or self.call.model
        pieces = [
            begun(CompletionRecord.REQUEST_FIELD_NUMBER, len(request)),
            request,
            begun(CompletionRecord.COMPLETION_FIELD_NUMBER, len(answer)),
            answer,
            *ending(
                self.call,
                times_us=(self._start_us, self._now_us()),
                status=0,
                http_status=200,
                error=None,
                labels=b"",
            ),
        ]
        record = await threaded(self._size, b"".join, pieces)
        return StoredCompletion(
            about.id, model, about.created or int(time.time()), metadata, record
        )

    def _hold(self, size: int, count: int = 0) -> bool:
        """Takes room for a part of the exchange; without room, nothing of it is kept."""
        if self.obstacle is not None:
            return False
        owner = self._owner
        self._size += size
        held = size + _EACH * count
        if self._size > owner.rules.max_bytes:
            self.obstacle = "too_large"
        elif owner.held + held > _MOST_HELD:
            self.obstacle = "no_room"
        else:
            owner.held += held
            self._held += held
            return True
        self.close()
        return False

    def _now_us(self) -> int:
        """The microseconds since the call came."""
        return int((time.monotonic() - self.call.started) * 1_000_000)


def _joined(chunks: Sequence[bytes]) -> bytes:
    """A record of nothing but chunks, made in short steps."""
    number = CompletionRecord.CHUNKS_FIELD_NUMBER
    starts = range(0, len(chunks), _STEP)
    return b"".join([embedded(number, chunks[start : start + _STEP]) for start in starts])


async def _fields(data: bytes, numbers: frozenset[int]) -> bytes:
    """Some fields of a message."""
    return await stepwise(len(data), _some_fields, data, numbers)


def _some_fields(data: bytes, numbers: frozenset[int]) -> bytes:
    return b"".join([data[span.start : span.end] for span in spans(data) if span.number in numbers])


def _with_id(completion: bytes, name: str) -> bytes:
    number = ChatCompletion.ID_FIELD_NUMBER
    return embedded(number, (name.encode(),)) + without(completion, number)
