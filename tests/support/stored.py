"""Builders of stored completions, and what lists hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from chatpb import from_dict
from chatpb.store import Listing, Store, StoredCompletion, open_store
from chatpb.v1 import ChatCompletion, ChatCompletionRequest, CompletionRecord
from support import build


def stored(
    id: str,  # noqa: A002
    *,
    model: str = "m",
    created: int = 1,
    metadata: Mapping[str, str] | None = None,
    record: bytes | None = None,
) -> StoredCompletion:
    """A completion as it is stored."""
    if record is None:
        whole = CompletionRecord(
            request=ChatCompletionRequest(model=model),
            completion=ChatCompletion(id=id, model=model, created=created),
        )
        record = whole.SerializeToString(deterministic=True)
    return StoredCompletion(id, model, created, dict(metadata or {}), record)


def answered(
    completion_id: str = "chatcmpl-1",
    metadata: Mapping[str, str] | None = None,
    *,
    request: Any = None,
    call_id: str | None = "call-1",
    **members: Any,
) -> StoredCompletion:
    """A stored completion with an answer of some members, and a request with a message."""
    answer = build.completion(build.choice("pong"), id=completion_id, **members)
    asked = {"model": "m", "messages": [{"role": "user", "content": "ping"}], "store": True}
    if metadata:
        asked["metadata"] = dict(metadata)
    record = CompletionRecord(
        request=from_dict({**asked, **(request or {})}, ChatCompletionRequest),
        completion=from_dict(answer, ChatCompletion),
        call_id=call_id,
    )
    return StoredCompletion(
        completion_id,
        answer["model"],
        answer["created"],
        metadata or {},
        record.SerializeToString(deterministic=True),
    )


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Store]:
    """A store, closed at the end."""
    store = await open_store(url, **options)
    try:
        yield store
    finally:
        await store.close()


async def ids(store: Store, caller: str, **listing: Any) -> list[str]:
    """The identifiers on a page."""
    page = await store.list(caller, Listing(**listing))
    return [each.id for each in page.completions]
