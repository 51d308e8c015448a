"""The store: completions in a database, SQLite or PostgreSQL, by caller and identifier.

`open_store` needs the extra ``chatpb[store]``; the types do not. The law: what `Store.put` has
acknowledged is there until it is deleted or forgotten. docs/stored.md says what that means if power
fails, and what a page has if rows come and go meanwhile.
"""

from __future__ import annotations

from chatpb._public import publish
from chatpb.store._errors import StoreError, UnknownCursorError
from chatpb.store._open import check, migrate, open_store
from chatpb.store._store import Store
from chatpb.store._values import Layout, Listing, Page, StoredCompletion

__all__ = [
    "Layout",
    "Listing",
    "Page",
    "Store",
    "StoreError",
    "StoredCompletion",
    "UnknownCursorError",
    "check",
    "migrate",
    "open_store",
]

publish("chatpb.store")
