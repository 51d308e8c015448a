"""How long tasks take, in turns: round after round, each task once in every round."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from convert.rows import Task

METHOD = (
    "For each input, the rows of an implementation, or those of the peers, take turns in a fresh"
    " process: in every round each row has one pass untimed and then one pass or about"
    " {slice_ms:g} ms timed; the garbage collector is off; what a call gives is freed within the"
    " time. A row's time is its least of {rounds} rounds (fewer, but no less than 3, for a row that"
    " has used up {budget_s:g} s); the ratio is to orjson's time in the same process."
)


@dataclass(frozen=True)
class Effort:
    """How much time is spent."""

    rounds: int
    slice_s: float  # timed work of a row in a round
    budget_s: float  # time of a row in all its rounds

    def describe(self) -> str:
        """The method, in words."""
        return METHOD.format(
            rounds=self.rounds, slice_ms=self.slice_s * 1e3, budget_s=self.budget_s
        )


FULL = Effort(rounds=20, slice_s=0.004, budget_s=0.8)
QUICK = Effort(rounds=5, slice_s=0.001, budget_s=0.1)


def seconds(tasks: Sequence[Task], effort: Effort) -> list[float]:
    """The time that each task takes for all its arguments together."""
    turns = [_Turn(task, effort) for task in tasks]
    gc.collect()
    gc.disable()
    try:
        for _ in range(effort.rounds):
            for turn in turns:
                turn.take()
    finally:
        gc.enable()
    return [min(turn.times) for turn in turns]


class _Turn:
    """A task and its times so far."""

    def __init__(self, task: Task, effort: Effort) -> None:
        self._task = task
        self._effort = effort
        self._spent = 0.0
        self.times: list[float] = []
        once = _run(task, 1)  # this also warms it up
        self._passes = max(1, round(effort.slice_s / min(once, _run(task, 1))))

    def take(self) -> None:
        """Runs the task, unless it has had its time."""
        if self._spent > self._effort.budget_s and len(self.times) >= 3:
            return
        if self._spent <= self._effort.budget_s:
            self._spent += _run(self._task, 1)
        elapsed = _run(self._task, self._passes)
        self._spent += elapsed
        self.times.append(elapsed / self._passes)


def _run(task: Task, passes: int) -> float:
    call = task.call
    arguments = list(task.arguments) * passes
    start = perf_counter()
    for argument in arguments:
        call(argument)
    return perf_counter() - start
