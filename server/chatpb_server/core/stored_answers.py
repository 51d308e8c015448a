"""The answers of a store to calls for stored completions, each in binary form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from chatpb import ConversionError
from chatpb._rpc.stored import DELETE, GET, LIST, MESSAGES, UPDATE
from chatpb._wire import WireError, embedded
from chatpb.store import Listing, Store, StoredCompletion, UnknownCursorError
from chatpb.v1.stored_chat_completion_pb2 import (
    ChatCompletionDeleted,
    ChatCompletionList,
    ChatCompletionStoreMessageList,
)
from chatpb.v1.stored_chat_completion_service_pb2 import SORT_ORDER_ASC, SORT_ORDER_DESC
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.offload import apart, stepwise
from chatpb_server.core.stored_contents import (
    changed_fields,
    messages_in,
    parts_of,
    put_together,
    stored_message,
)
from chatpb_server.core.stored_limits import check_limit, check_metadata, metadata_in

_DEFAULT_LIMIT: Final = 20
#: The most characters of what a caller sent that an error quotes.
_MOST_QUOTED: Final = 100
#: From how many bytes a page gets no more entries: clients of gRPC take messages of 4 MiB unless
#: they set another limit.
_PAGE_BYTES: Final = 2 * 1024 * 1024
#: How many rows are read first for a page: the others by the size of these, so that a page of large
#: ones does not take the memory of a hundred.
_FIRST_ROWS: Final = 4
_READ_BYTES: Final = 16 * 1024 * 1024


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
        min(limit, _FIRST_ROWS),
        _is_descending(request),
        request.model if request.HasField("model") else None,
        metadata,
    )
    ids: list[str] = []
    found: list[bytes] = []
    read = size = largest = 0
    has_more = True
    while has_more and len(found) < limit and size <= _PAGE_BYTES and read <= _READ_BYTES:
        try:
            page = await store.list(caller, listing)
        except UnknownCursorError as error:
            raise _unknown_cursor(listing.after or "") from error
        has_more = page.has_more
        for number, stored in enumerate(page.completions, 1):
            ids.append(stored.id)
            found.append(await _completion(stored))
            size += len(found[-1])
            read += len(stored.record)
            largest = max(largest, len(stored.record))
            if size > _PAGE_BYTES:
                has_more = has_more or number < len(page.completions)
                break
        if ids:
            rows = max(1, (_READ_BYTES - read) // max(1, largest))
            listing = replace(listing, after=ids[-1], limit=min(limit - len(found), rows))
    rest = ChatCompletionList(has_more=has_more)
    if ids:
        rest.first_id, rest.last_id = ids[0], ids[-1]
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


#: What answers an rpc, by its name: from the store, the caller and the request.
ANSWERS: Final[Mapping[str, Callable[[Store, str, Any], Awaitable[bytes]]]] = MappingProxyType(
    {
        GET.name: _get,
        LIST.name: _list,
        UPDATE.name: _update,
        DELETE.name: _delete,
        MESSAGES.name: _messages,
    }
)
