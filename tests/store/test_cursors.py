"""Lists while completions come and go, compared with a list in memory."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from chatpb.store import Listing, Page, StoredCompletion, UnknownCursorError, _sql, open_store
from support.stored import stored

CALLERS: Final = ("a", "")
IDS: Final = tuple(f"c{number}" for number in range(6))
DAYS: Final = itertools.count(1, 3)
callers = st.sampled_from(CALLERS)
names = st.sampled_from(IDS)
models = st.sampled_from(("m", "n", "M"))
metadata = st.dictionaries(st.sampled_from(("k", "l")), st.sampled_from(("", "v", "w")))


class Model:
    """A list in memory that does what a store does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[int, int, StoredCompletion]] = {}
        self.deleted: dict[tuple[str, str], int] = {}
        self.numbers = itertools.count()

    def put(self, caller: str, completion: StoredCompletion, now: int) -> None:
        """Stores a completion, at a time."""
        old = self.rows.get((caller, completion.id))
        number = next(self.numbers) if old is None else old[0]
        self.rows[caller, completion.id] = (number, now, completion)

    def remove(self, caller: str, name: str) -> bool:
        """Deletes a completion."""
        old = self.rows.pop((caller, name), None)
        if old is not None:
            self.deleted[caller, name] = old[0]
        return old is not None

    def page(self, caller: str, listing: Listing) -> Page | None:
        """A page; None if the cursor is unknown."""
        found = sorted(
            (
                (number, completion)
                for (owner, _), (number, _, completion) in self.rows.items()
                if owner == caller
                and listing.model in (None, completion.model)
                and listing.metadata.items() <= completion.metadata.items()
            ),
            key=lambda each: each[0],
        )
        if listing.after is not None:
            key = caller, listing.after
            after = self.rows[key][0] if key in self.rows else self.deleted.get(key)
            if after is None:
                return None
            found = [
                each
                for each in found
                if (each[0] < after if listing.is_descending else each[0] > after)
            ]
        if listing.is_descending:
            found.reverse()
        return Page([each for _, each in found[: listing.limit]], len(found) > listing.limit)


class Lists(RuleBasedStateMachine):
    """Does the same to a store and to a list."""

    url = "sqlite://"

    @initialize()
    def open(self) -> None:
        """Opens a store on an empty database."""
        self.model = Model()
        self.clock = itertools.count(next(DAYS) * 86_400_000_000)
        self.runner = asyncio.Runner()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(_sql, "_now_us", lambda: next(self.clock))
        self.store = self.run(open_store(self.url))
        if self.url != "sqlite://":
            self.run(self.store.forget(datetime(2100, 1, 1, tzinfo=UTC), 10_000))
            # the cursors too, a day later
            self.clock = itertools.count((next(DAYS) + 1) * 86_400_000_000)
            self.run(self.store.forget(datetime(1970, 1, 1, tzinfo=UTC)))

    def teardown(self) -> None:
        """Closes the store."""
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.runner.close()
            self.patch.undo()

    def run(self, operation: Any) -> Any:
        """Runs an operation of the store to its end."""
        return self.runner.run(operation)

    @rule(caller=callers, name=names, model=models, metadata=metadata, created=st.integers(0, 9))
    def put(self, caller: str, name: str, **members: Any) -> None:
        """Stores a completion, which may be there."""
        completion = stored(name, **members)
        self.run(self.store.put(caller, completion))
        self.model.put(caller, completion, next(self.clock) - 1)

    @rule(caller=callers, name=names)
    def get(self, caller: str, name: str) -> None:
        """Reads a completion."""
        expected = self.model.rows.get((caller, name))
        found = self.run(self.store.get(caller, name))
        assert (None if expected is None else expected[2]) == found

    @rule(caller=callers, name=names, metadata=metadata)
    def update(self, caller: str, name: str, metadata: dict[str, str]) -> None:
        """Replaces metadata."""
        expected = None
        if (caller, name) in self.model.rows:
            number, at, old = self.model.rows[caller, name]
            expected = replace(old, metadata=metadata)
            self.model.rows[caller, name] = number, at, expected
        assert expected == self.run(self.store.update(caller, name, metadata))

    @rule(caller=callers, name=names)
    def delete(self, caller: str, name: str) -> None:
        """Deletes a completion."""
        assert self.model.remove(caller, name) == self.run(self.store.delete(caller, name))

    @rule(most=st.integers(1, 4), back=st.integers(0, 20))
    def forget(self, most: int, back: int) -> None:
        """Deletes the oldest."""
        before = next(self.clock) - back
        old = sorted((at, key) for key, (_, at, _) in self.model.rows.items() if at < before)[:most]
        for _, key in old:
            self.model.remove(*key)
        time = datetime.fromtimestamp(before / 1_000_000, UTC)
        assert len(old) == self.run(self.store.forget(time, most))

    @rule(caller=callers, limit=st.integers(1, 3), is_descending=st.booleans())
    def page_after_each(self, caller: str, limit: int, is_descending: bool) -> None:
        """Reads the pages after all that are or were there."""
        for name in IDS:
            self.page(caller, Listing(name, limit, is_descending))

    @rule(
        caller=callers,
        listing=st.builds(
            Listing,
            after=st.none() | names,
            limit=st.integers(1, 4) | st.just(100),
            is_descending=st.booleans(),
            model=st.none() | models,
            metadata=st.just({}) | metadata,
        ),
    )
    def any_page(self, caller: str, listing: Listing) -> None:
        """Reads a page."""
        self.page(caller, listing)

    def page(self, caller: str, listing: Listing) -> None:
        """Compares a page."""
        expected = self.model.page(caller, listing)
        if expected is None:
            with pytest.raises(UnknownCursorError):
                self.run(self.store.list(caller, listing))
        else:
            assert expected == self.run(self.store.list(caller, listing))


def test_lists_are_those_of_a_list_in_memory(url: str) -> None:
    class Here(Lists):
        pass

    Here.url = url
    run_state_machine_as_test(
        Here,
        settings=settings(stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
