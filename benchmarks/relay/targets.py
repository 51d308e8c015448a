"""The limits for what a relay costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from common.limits import Limit, at_least, at_most, judge
from relay.scenarios import BURSTS, BUSY, PACED, UNPACED
from relay.subject import DIRECT, EDGE, LITELLM, PAIR, PASSTHROUGH, RELAY
from relay.workers import EFFICIENCY, WORKERS

Found = dict[str, dict[str, float]]  # numbers by scenario, of one subject
_Value = Callable[[dict[str, Found]], float | None]


def _get(found: dict[str, Found], subject: str, scenario: str, key: str) -> float | None:
    return found.get(subject, {}).get(scenario, {}).get(key)


def _plain(subject: str, scenario: str, key: str) -> _Value:
    return lambda found: _get(found, subject, scenario, key)


def _ratio(scenario: str, key: str, peer: str) -> _Value:
    def value(found: dict[str, Found]) -> float | None:
        of_relay, of_peer = (_get(found, name, scenario, key) for name in (RELAY, peer))
        return of_relay / of_peer if of_relay and of_peer else None

    return value


def _added(scenario: str, key: str, subject: str = RELAY) -> _Value:
    def value(found: dict[str, Found]) -> float | None:
        of_subject, direct = (_get(found, name, scenario, key) for name in (subject, DIRECT))
        return of_subject - direct if of_subject and direct else None

    return value


def _added_ratio(scenario: str, key: str) -> _Value:
    """What the relay adds to a time, over what the pass-through adds."""
    of_relay, of_peer = (_added(scenario, key, name) for name in (RELAY, PASSTHROUGH))

    def value(found: dict[str, Found]) -> float | None:
        added, by_peer = of_relay(found), of_peer(found)
        return added / by_peer if added is not None and by_peer else None

    return value


def _both_hops(found: dict[str, Found]) -> float | None:
    both = _get(found, PAIR, PACED, "all_cpu_us_of_chunks")
    one = _get(found, RELAY, PACED, "cpu_us_of_chunks")
    return both / one if both and one else None


_TARGETS: Final[tuple[Limit[dict[str, Found]], ...]] = (
    at_most(
        "CPU of a unary call / the pass-through's (1.15 is the aim)",
        1.4,
        _ratio(BUSY, "cpu_us_of_calls", PASSTHROUGH),
        readme=True,
    ),
    at_most(
        "16 open calls: p50 - direct / the pass-through's",
        1.4,
        _added_ratio("unary 16", "duration_p50_ms"),
    ),
    at_most(
        "concurrency 1, first chunk: p50 - direct / the pass-through's",
        1.3,
        _added_ratio("first 1", "first_p50_ms"),
    ),
    at_most("two hops: CPU of a paced chunk in both relays / in one", 2.2, _both_hops),
    at_least(
        "HTTP edge: calls/s per core", 4000, _plain(EDGE, BUSY, "calls_per_cpu_s"), readme=True
    ),
    at_least(
        "--workers N: calls/s for N cores / N times one worker's, gRPC",
        0.9,
        _plain(WORKERS, RELAY, EFFICIENCY),
    ),
    at_least("the same over HTTP", 0.9, _plain(WORKERS, EDGE, EFFICIENCY)),
    at_least(
        "paced streams: chunks/s per core / the pass-through's",
        0.7,
        _ratio(PACED, "chunks_per_cpu_s", PASSTHROUGH),
        readme=True,
    ),
    at_least(
        "bursts: chunks/s per core / the pass-through's",
        2,
        _ratio(BURSTS, "chunks_per_cpu_s", PASSTHROUGH),
        readme=True,
    ),
    at_least("calls/s / LiteLLM's", 20, _ratio(BUSY, "calls_per_s", LITELLM), readme=True),
    at_least("chunks/s, unpaced / LiteLLM's", 20, _ratio(UNPACED, "chunks_per_s", LITELLM)),
    at_most(
        "concurrency 1: time to first chunk, p50 - direct, ms",
        1,
        _added("first 1", "first_p50_ms"),
    ),
    at_most(
        "concurrency 1: unary call, p50 - direct, ms",
        1.5,
        _added("unary 1", "duration_p50_ms"),
        readme=True,
    ),
)


def verdicts(found: dict[str, Found]) -> list[dict[str, Any]]:
    """Each target, with what the relay reached. LiteLLM's are left out if it was not measured."""
    asked = [each for each in _TARGETS if LITELLM in found or "LiteLLM's" not in each.name]
    return judge(asked, {RELAY: found}, RELAY)
