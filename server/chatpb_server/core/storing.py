"""Storing: a completion is in the store before its caller has the last byte of it.

Whatever becomes of that, no completion fails for it, and none waits longer than the rules say.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from google.protobuf.message import DecodeError

from chatpb import ConversionError
from chatpb._wire import WireError, begun, embedded, spans, without
from chatpb.store import Store, StoredCompletion, StoreError
from chatpb.store._errors import RowError
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.call import Call
from chatpb_server.core.offload import apart, stepwise, threaded
from chatpb_server.core.pausing import Pauses
from chatpb_server.core.reading import folded
from chatpb_server.core.record_fields import ending
from chatpb_server.core.store_rules import Outcome, StoreRules
from chatpb_server.core.upstream import RequestBody, RequestError

#: How many bytes are held of all running calls for the store, in each process.
_MOST_HELD: Final = 256 * 1024 * 1024
#: A chunk in a list takes so many bytes more than its own, and to fold it takes as long.
_EACH: Final = 200
#: How many calls of a store that took too long may be still under way.
_MOST_LEFT: Final = 64
#: Of the time until a call's deadline, storing takes at most this share.
_SHARE: Final = 0.5
#: What is indexed must not be longer.
_MOST_NAME: Final = 512
# What OpenAI allows of metadata.
_MOST_PAIRS: Final = 16
_MOST_KEY: Final = 64
_MOST_VALUE: Final = 512
_NAMED: Final = frozenset(
    (
        ChatCompletion.ID_FIELD_NUMBER,
        ChatCompletion.MODEL_FIELD_NUMBER,
        ChatCompletion.CREATED_FIELD_NUMBER,
    )
)
_METADATA: Final = frozenset((ChatCompletionRequest.METADATA_FIELD_NUMBER,))

_logger = logging.getLogger(__name__)


class Storing:
    """Puts completions into a store.

    Args:
        store: The store.
        rules: Which completions are stored.
        count: Is called with what happened to each that was to be stored.
        pauses: When the store is left alone, because it fails.

    Attributes:
        rules: The argument, which can be changed.
        held: How many bytes are held of running calls.
    """

    def __init__(
        self,
        store: Store,
        rules: StoreRules | None = None,
        count: Callable[[Outcome], None] | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self.rules = rules or StoreRules()
        self.held = 0
        self.store = store
        self.pauses = pauses or Pauses()
        self._count = count or (lambda _: None)
        self._left: set[asyncio.Task[Outcome]] = set()

    def begin(self, call: Call, body: RequestBody) -> Kept | None:
        """Begins to keep a call for the store; None if its completion is not to be stored."""
        wanted = body.store
        if wanted is None:
            wanted = self.rules.all and call.wish == "all"
        return Kept(self, call, body) if wanted else None

    async def put(self, kept: Kept) -> None:
        """Puts what was kept of a call into the store, and tells the call whether that is done."""
        call = kept.call
        outcome = kept.obstacle
        if outcome is None and (len(self._left) >= _MOST_LEFT or not self.pauses.try_now()):
            outcome = "paused"
        if outcome is None:
            outcome = await self._in_time(kept)
        call.is_unstored = outcome != "stored"
        self._count(outcome)
        if outcome in _REASONS:
            _logger.warning("a completion was not stored: %s", _REASONS[outcome])

    async def _in_time(self, kept: Kept) -> Outcome:
        seconds = self.rules.timeout
        if kept.call.deadline is not None:
            seconds = min(seconds, max(0.0, kept.call.deadline - time.monotonic()) * _SHARE)
        task = asyncio.ensure_future(self._outcome(kept))
        try:
            await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:  # the caller went
            self._leave(task)
            self.pauses.left()
            raise
        if task.done():
            return task.result()
        self._leave(task)
        if kept.is_handed_over:
            self.pauses.failed()
        else:
            self.pauses.left()
        return "timeout"

    def _leave(self, task: asyncio.Task[Outcome]) -> None:
        """Ends a task without waiting for it: a store can take its time to give up."""
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def _outcome(self, kept: Kept) -> Outcome:
        outcome: Outcome = "failed"
        was_paused = self.pauses.is_paused
        try:
            completion = await kept.completion()
            kept.is_handed_over = True
            await self.store.put(kept.call.caller, completion)
        except (_UnfitError, RowError) as error:
            kept.is_handed_over = False  # that it does not take this one says nothing of others
            _logger.warning("a completion was not stored: %s", error)
            outcome = "unfit"
        except StoreError as error:
            _logger.warning("a completion was not stored: %s", error)
        except Exception as error:  # a fault here must not fail the call
            _logger.error("a completion was not stored", exc_info=error)
        else:
            self.pauses.succeeded()
            if was_paused:
                _logger.info("completions are stored again")
            return "stored"
        if kept.is_handed_over:
            self.pauses.failed()
        else:
            self.pauses.left()
        return outcome


#: What the log says of outcomes that nothing else explains.
_REASONS: Final = {
    "timeout": "it took too long (--store-timeout, or half of the time that was left of the call)",
    "paused": "the store has just failed several times",
    "too_large": "it is too large (--store-max-bytes)",
    "no_room": "the running calls hold too much for the store",
}


class _UnfitError(Exception):
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
            _UnfitError: It cannot be stored.
        """
        try:
            request = await self._body.binary()
            answer = self._completion
            if answer is None:
                answer = await apart(self._held, folded, self._chunks)
            about = ChatCompletion.FromString(await _fields(answer, _NAMED))
            asked = ChatCompletionRequest.FromString(await _fields(request, _METADATA))
            if not about.id:
                about.id = f"chatcmpl-{uuid.uuid4().hex}"
                answer = await stepwise(len(answer), _with_id, answer, about.id)
        except RequestError:
            raise _UnfitError("the request has no binary form") from None
        except (ConversionError, DecodeError, WireError):
            raise _UnfitError("the chunks make no completion") from None
        metadata = dict(asked.metadata)
        model = about.model or self.call.model
        _check(about.id, model, metadata)
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


async def _fields(data: bytes, numbers: frozenset[int]) -> bytes:
    """Some fields of a message."""
    return await stepwise(len(data), _some_fields, data, numbers)


def _some_fields(data: bytes, numbers: frozenset[int]) -> bytes:
    return b"".join([data[span.start : span.end] for span in spans(data) if span.number in numbers])


def _with_id(completion: bytes, name: str) -> bytes:
    number = ChatCompletion.ID_FIELD_NUMBER
    return embedded(number, (name.encode(),)) + without(completion, number)


def _check(name: str, model: str, metadata: dict[str, Any]) -> None:
    """Checks what is indexed, and what can be asked for later.

    Raises:
        _UnfitError: A part of it cannot be stored.
    """
    for text, what in ((name, "id"), (model, "model")):
        if len(text) > _MOST_NAME or "\0" in text:
            raise _UnfitError(f"its {what} is too long, or has a NUL character")
    if len(metadata) > _MOST_PAIRS or any(
        len(key) > _MOST_KEY or len(value) > _MOST_VALUE or "\0" in key + value
        for key, value in metadata.items()
    ):
        raise _UnfitError("its metadata is larger than OpenAI allows, or has a NUL character")
