"""Builders of stored completions, and what lists hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from chatpb.store import Listing, Store, StoredCompletion, open_store
from chatpb.v1 import ChatCompletion, ChatCompletionRequest, CompletionRecord


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
