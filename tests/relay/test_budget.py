"""The budget of request bytes, in total and for each connection."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from chatpb_server.core.budget import Budget
from chatpb_server.core.gate import OverloadError
from chatpb_server.core.limits import Limits


def test_bytes_are_bounded_in_total() -> None:
    budget = Budget(100, 100)
    with budget.share("a") as a, budget.share("b") as b:
        a.take(60)
        b.take(40)
        for share in (a, b):
            with pytest.raises(OverloadError):
                share.take(1)
        a.give_back()
        b.take(60)
        assert 100 == budget.held
    assert 0 == budget.held


def test_bytes_are_bounded_for_each_connection() -> None:
    budget = Budget(100, 50)
    with budget.share("a") as first, budget.share("a") as second, budget.share("b") as other:
        first.take(30)
        with pytest.raises(OverloadError):
            second.take(21)
        second.take(20)
        other.take(50)
    assert 0 == budget.held


def test_what_is_in_memory_already_counts_even_without_room() -> None:
    budget = Budget(100, 100)
    with budget.share("a") as share:
        share.hold(150)
        assert 150 == budget.held
        with pytest.raises(OverloadError):
            share.check(1)
    assert 0 == budget.held


def test_the_default_budget_follows_the_largest_message() -> None:
    limits = Limits(max_message_bytes=10)
    assert (80, 40) == (limits.held_bytes, limits.connection_bytes)
    limits = Limits(max_message_bytes=10, max_held_bytes=10)
    assert (10, 10) == (limits.held_bytes, limits.connection_bytes)


def test_one_connection_can_have_all_calls_that_run() -> None:
    """A relay in front of another one has one connection to it."""
    assert 1000 == Limits(max_running=7).streams
    assert 2000 == Limits(max_running=2000).streams
    assert 3 == Limits(max_running=7, max_streams=3).streams


@pytest.mark.parametrize("name", ["max_held_bytes", "max_connection_bytes"])
def test_a_budget_has_room_for_the_largest_message(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is less than max_message_bytes, 10"):
        Limits.model_validate({"max_message_bytes": 10, name: 9})
