"""The service of stored completions: those of a store, or of another relay."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from chatpb import ConversionError
from chatpb._rpc.stored import DELETE, GET, LIST, MESSAGES, NO_STORE, UPDATE, contents_of, path_of
from chatpb._wire import WireError, embedded
from chatpb.store import Listing, Store, StoredCompletion, UnknownCursorError
from chatpb.v1.stored_chat_completion_pb2 import (
    ChatCompletionDeleted,
    ChatCompletionList,
    ChatCompletionStoreMessageList,
)
from chatpb.v1.stored_chat_completion_service_pb2 import SORT_ORDER_ASC, SORT_ORDER_DESC
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.headers import PassedOn
from chatpb_server.core.offload import apart, stepwise
from chatpb_server.core.stored_contents import (
    changed_fields,
    messages_in,
    parts_of,
    put_together,
    stored_message,
)
from chatpb_server.core.stored_limits import check_limit, check_metadata, may_be_stored, metadata_in
from chatpb_server.core.upstream import RequestError

_DEFAULT_LIMIT: Final = 20
#: The most characters of what a caller sent that an error quotes.
_MOST_QUOTED: Final = 100
#: From how many bytes a page gets no more entries: clients of gRPC take messages of 4 MiB unless
#: they set another limit.
_PAGE_BYTES: Final = 2 * 1024 * 1024
_HOW_TO_STORE: Final = (
    "This relay does not store completions: start it with --store URL, such as"
    " --store sqlite:///completions.db."
)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A call of an rpc for another relay.

    Attributes:
        method: The full name of the rpc.
        message: Its message.
        caller: The name of who asks; empty if the relay does not name its callers.
        headers: HTTP headers that belong to this call, as in an `UpstreamRequest`.
        deadline: When the call ends at the latest, in seconds of `time.monotonic`.
        query: Query parameters of this call: none, since the message has them.
    """

    method: str
    message: bytes = field(repr=False)
    caller: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline: float | None = None
    query: str = ""

    def seconds_left(self) -> float | None:
        """The time until the deadline, at least 0; None if there is no deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())


@runtime_checkable
class PassesStored(Protocol):
    """An upstream that may be a relay, which has stored completions."""

    @property
    def passes_stored(self) -> bool:
        """Whether it is one."""
        ...

    async def stored(self, request: StoredRequest) -> bytes:
        """The response of an rpc.

        Raises:
            UpstreamFault: The call failed.
            RefusalError: The other relay does not know the rpc, or would not know who asks.
        """
        ...


def passes_stored(upstream: object) -> bool:
    """Whether an upstream is a relay, which has stored completions."""
    return isinstance(upstream, PassesStored) and upstream.passes_stored


class StoredChatCompletionService:
    """The service, answered by a store or by an upstream that is a relay.

    Args:
        upstream: What is asked if there is no store.
        store: The store. None: there is none.
        passed_on: As for `ChatCompletionService`.

    Attributes:
        passed_on: The argument, which can be changed.
    """

    def __init__(
        self, upstream: object, store: Store | None = None, passed_on: PassedOn | None = None
    ) -> None:
        self._upstream = upstream
        self._store = store
        self.passed_on = passed_on or PassedOn()
        self._answers: Mapping[str, Callable[[Store, str, Any], Awaitable[bytes]]] = {
            GET.name: _get,
            LIST.name: _list,
            UPDATE.name: _update,
            DELETE.name: _delete,
            MESSAGES.name: _messages,
        }

    @property
    def is_answered(self) -> bool:
        """Whether there is a store, or an upstream that may have one."""
        return self._store is not None or passes_stored(self._upstream)

    async def answer(self, call: Call, method: Any, data: bytes) -> bytes:
        """The response of an rpc, in binary form.

        Args:
            call: The call, whose caller sees its own completions only.
            method: The descriptor of the rpc.
            data: Its message.

        Raises:
            RefusalError: There is no store or no such completion, or a parameter is wrong.
            RequestError: The message cannot be read.
            StoreError: The store cannot be used.
            UpstreamFault: The other relay failed.
        """
        try:
            request: Any = GetMessageClass(method.input_type).FromString(data)
        except DecodeError as error:
            raise RequestError("The request is not the binary form of a message.") from error
        if self._store is None:
            return await self._passed(call, method, data)
        if method.name != LIST.name and not may_be_stored(request.completion_id):
            raise _unknown(request.completion_id)
        answered = await self._answers[method.name](self._store, call.caller, request)
        number, _ = contents_of(method)
        return await stepwise(len(answered), embedded, number, (answered,))

    async def _passed(self, call: Call, method: Any, data: bytes) -> bytes:
        upstream = self._upstream
        if not isinstance(upstream, PassesStored) or not upstream.passes_stored:
            raise RefusalError(404, _HOW_TO_STORE, NO_STORE)
        headers = self.passed_on.of(call.metadata)
        request = StoredRequest(path_of(method), data, call.caller, headers, call.deadline)
        return await upstream.stored(request)


async def _get(store: Store, caller: str, request: Any) -> bytes:
    return await _completion(_found(await store.get(caller, request.completion_id), request))


async def _update(store: Store, caller: str, request: Any) -> bytes:
    metadata = metadata_in(request.update)
    check_metadata(metadata)
    stored = await store.update(caller, request.completion_id, metadata)
    return await _completion(_found(stored, request))


async def _delete(store: Store, caller: str, request: Any) -> bytes:
    completion_id = request.completion_id
    if not await store.delete(caller, completion_id):
        raise _unknown(completion_id)
    return ChatCompletionDeleted(id=completion_id, deleted=True).SerializeToString()


async def _list(store: Store, caller: str, request: Any) -> bytes:
    limit = _limit_in(request)
    metadata = dict(request.metadata)
    check_metadata(metadata)
    listing = Listing(
        request.after if request.HasField("after") else None,
        limit,
        _is_descending(request),
        request.model if request.HasField("model") else None,
        metadata,
    )
    if not may_be_stored(listing.model or ""):
        raise RefusalError(
            400, "Invalid 'model': no model has this name.", "invalid_value", "model"
        )
    if not may_be_stored(listing.after or ""):
        raise _unknown_cursor(listing.after or "")
    try:
        page = await store.list(caller, listing)
    except UnknownCursorError as error:
        raise _unknown_cursor(listing.after or "") from error
    found: list[bytes] = []
    size = 0
    for stored in page.completions:
        found.append(await _completion(stored))
        size += len(found[-1])
        if size > _PAGE_BYTES:
            break
    shown = page.completions[: len(found)]
    rest = ChatCompletionList(has_more=page.has_more or len(shown) < len(page.completions))
    if shown:
        rest.first_id, rest.last_id = shown[0].id, shown[-1].id
    return await _page(ChatCompletionList.DATA_FIELD_NUMBER, found, rest.SerializeToString())


async def _messages(store: Store, caller: str, request: Any) -> bytes:
    limit = _limit_in(request)
    is_descending = _is_descending(request)
    stored = _found(await store.get(caller, request.completion_id), request)
    try:
        messages = await apart(len(stored.record), messages_in, stored.record, stored.id)
    except WireError as error:
        raise _unreadable(stored) from error
    ids = list(messages)
    if is_descending:
        ids.reverse()
    if request.HasField("after"):
        if request.after not in messages:
            raise _unknown_cursor(request.after)
        del ids[: ids.index(request.after) + 1]
    found: list[bytes] = []
    size = 0
    for message_id in ids[:limit]:
        data = messages[message_id]
        try:
            found.append(await apart(len(data), stored_message, data, message_id))
        except ConversionError as error:
            raise _unreadable(stored) from error
        size += len(found[-1])
        if size > _PAGE_BYTES:
            break
    rest = ChatCompletionStoreMessageList(has_more=len(found) < len(ids))
    if found:
        rest.first_id, rest.last_id = ids[0], ids[len(found) - 1]
    number = ChatCompletionStoreMessageList.DATA_FIELD_NUMBER
    return await _page(number, found, rest.SerializeToString())


async def _completion(stored: StoredCompletion) -> bytes:
    """The binary form of a ChatCompletion."""
    try:
        parts = await stepwise(len(stored.record), parts_of, stored.record)
        metadata = dict(stored.metadata)
        changed = await apart(parts.size, changed_fields, parts, stored.id, metadata)
        return await stepwise(len(stored.record), put_together, parts, changed)
    except (ConversionError, WireError) as error:
        raise _unreadable(stored) from error


async def _page(field_number: int, items: Sequence[bytes], rest: bytes) -> bytes:
    size = sum(map(len, items))
    return await stepwise(size, embedded, field_number, items) + rest


def _limit_in(request: Any) -> int:
    return check_limit(request.limit) if request.limit else _DEFAULT_LIMIT


def _is_descending(request: Any) -> bool:
    order = request.order if request.HasField("order") else SORT_ORDER_ASC
    if order not in (SORT_ORDER_ASC, SORT_ORDER_DESC):
        text = f"Invalid value: '{order}'. The order is not one that the relay knows."
        raise RefusalError(400, text, "invalid_value", "order")
    return order == SORT_ORDER_DESC


def _found(stored: StoredCompletion | None, request: Any) -> StoredCompletion:
    if stored is None:
        raise _unknown(request.completion_id)
    return stored


def _unknown(completion_id: str) -> RefusalError:
    text = f"No stored chat completion has the id '{completion_id[:_MOST_QUOTED]}'."
    return RefusalError(404, text, "completion_not_found", "completion_id")


def _unknown_cursor(after: str) -> RefusalError:
    text = f"Invalid 'after': there is no entry with the id '{after[:_MOST_QUOTED]}'."
    return RefusalError(400, text, "invalid_value", "after")


def _unreadable(stored: StoredCompletion) -> Exception:
    return RuntimeError(f"the record of the stored completion {stored.id} cannot be read")
