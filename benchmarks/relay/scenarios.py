"""The kinds of load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from relay.load import Order
from relay.plan import Plan
from relay.subject import Subject

CONCURRENCY: Final = (1, 16, 64)
BUSY: Final = f"unary {CONCURRENCY[-1]}"
PACED: Final = "paced"
BURSTS: Final = "bursts"
UNPACED: Final = "unpaced"
MEMORY: Final = "memory"
STREAMS: Final = 1_000
_NEVER_MS: Final = 600_000


@dataclass(frozen=True)
class Effort:
    """How much time is spent."""

    rounds: int
    latency_s: float
    throughput_s: float


FULL: Final = Effort(rounds=5, latency_s=0.5, throughput_s=1.2)
QUICK: Final = Effort(rounds=2, latency_s=0.3, throughput_s=0.6)


@dataclass(frozen=True)
class Scenario:
    """One kind of load; `Order` documents its fields."""

    name: str
    plan: Plan
    concurrency: int
    seconds: float
    warm_s: float
    connections: int = 1
    gaps: bool = False
    least: int = 0
    patience_s: float = 8.0

    def order(self, subject: Subject) -> Order:
        """The order to load a subject so. As many short calls as are open have to end."""
        plan = self.plan
        return Order(
            grpc=subject.grpc,
            port=subject.port,
            pids=subject.pids,
            upstream=subject.upstream,
            plan=(plan.chunks, plan.group, plan.gap_ms, plan.size),
            concurrency=self.concurrency,
            warm_s=self.warm_s,
            seconds=self.seconds,
            least=max(self.least, self.concurrency if plan.is_short else 0),
            connections=self.connections,
            gaps=self.gaps,
            patience_s=self.patience_s,
            key=subject.key,
            compact=subject.compact,
            path=subject.path,
            body=subject.body(plan),
        )


def scenarios(effort: Effort) -> Iterator[Scenario]:
    """The kinds of load, in the order of a round."""
    for concurrency in CONCURRENCY:
        yield Scenario(f"unary {concurrency}", Plan(), concurrency, effort.latency_s, 0.1)
    for concurrency in CONCURRENCY:
        yield Scenario(f"first {concurrency}", Plan(3), concurrency, effort.latency_s, 0.1)
    for name, group, gap_ms in ((PACED, 1, 20), (BURSTS, 16, 200)):
        # Long enough not to end while they are measured, even where they begin late.
        writes = int((effort.throughput_s + 10) * 1000 / gap_ms)
        plan = Plan(writes * group, group, gap_ms)
        yield Scenario(name, plan, 64, effort.throughput_s, 0.3)
    yield Scenario(UNPACED, Plan(200), 64, effort.throughput_s, 0.2)


WARM_UP: Final = (
    Scenario("warm-up", Plan(), 16, 0.7, 0),
    Scenario("warm-up", Plan(200), 16, 0.7, 0),
)
OPEN_STREAMS: Final = (
    Scenario("warm-up", Plan(3), 4, 0.3, 0),
    Scenario(MEMORY, Plan(3, gap_ms=_NEVER_MS), STREAMS, 0, 0.5),
)
