"""What must be reached, and whether it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from convert.inputs import LARGE, SMALL
from convert.rows import Work

Share = dict[str, Any]  # what the processes of one implementation found, and the peers' cells


@dataclass(frozen=True)
class Target:
    """A limit for one number."""

    name: str
    limit: float
    value: Callable[[Share], float | None]
    at_least: bool = False
    only: str | None = None  # the implementation that it is for, if it is for one

    def reached(self, value: float) -> bool:
        """Whether the number is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


def judge(
    shares: dict[str, Share], peers: list[dict[str, Any]], preferred: str
) -> list[dict[str, Any]]:
    """Each target with the number of each implementation, and whether the judged one reaches it.

    Args:
        shares: What was found, by implementation.
        peers: The cells of the peers.
        preferred: The implementation that is judged where a target is not for one alone.
    """
    verdicts = []
    for target in TARGETS:
        values = {
            name: target.value({**share, "peers": peers})
            for name, share in shares.items()
            if target.only in (None, name)
        }
        judged = target.only or preferred
        value = values.get(judged)
        verdicts.append(
            {
                "target": target.name,
                "limit": target.limit,
                "at_least": target.at_least,
                "values": values,
                "judged": judged,
                "reached": value is not None and target.reached(value),
            }
        )
    return verdicts


def _worst(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return max(measured, default=None)


def _ratio(
    function: str, work: Work, inputs: Iterable[str], key: str = "ratio"
) -> Callable[[Share], float | None]:
    wanted = set(inputs)
    return lambda share: _worst(
        cell.get(key)
        for cell in share["cells"]
        if cell["work"] == work and cell["row"].endswith(function) and cell["input"] in wanted
    )


def _gain(*works: Work) -> Callable[[Share], float | None]:
    # The two ran in different processes, at different times. What they share is orjson, which ran
    # beside both on the same input: the quotient of their ratios to it says which is faster.
    def gains(share: Share) -> Iterator[float]:
        peers: dict[tuple[str, str], float] = {}
        for cell in share["peers"]:
            if cell["row"].startswith("json_format: ") and "ratio" in cell:
                place = cell["work"], cell["input"]
                # Of several ways to call it the quickest counts.
                peers[place] = min(cell["ratio"], peers.get(place, math.inf))
        for cell in share["cells"]:
            place = cell["work"], cell["input"]
            if cell["work"] not in works or cell["input"] not in LARGE or place not in peers:
                continue
            if cell["row"].startswith("chatpb "):
                yield peers[place] / cell["ratio"]

    return lambda share: min(gains(share), default=None)


def _size(inputs: Iterable[str]) -> Callable[[Share], float | None]:
    wanted = set(inputs)
    return lambda share: _worst(size["ratio"] for size in share["sizes"] if size["input"] in wanted)


def _memory(share: Share) -> float | None:
    value: float | None = (share["memory"] or {}).get("json_to_binary")
    return value


# Of the two inputs with 20 alternatives, and of the functions named, the worst counts.
TARGETS: Final = (
    Target(
        "500x20: json_to_binary / orjson.loads",
        0.35,
        _ratio(": json_to_binary", Work.TO_BINARY, LARGE),
    ),
    Target(
        "500x20: json_to_binary / simdjson's parse",
        2,
        _ratio(": json_to_binary", Work.TO_BINARY, LARGE, "ratio_to_simdjson"),
    ),
    Target(
        "500x20: binary_to_json / orjson.dumps",
        1,
        _ratio(": binary_to_json", Work.FROM_BINARY, LARGE),
    ),
    Target("500x20: from_json / orjson.loads", 0.5, _ratio(": from_json", Work.READ, LARGE)),
    Target(
        "small: json_to_binary / orjson.loads",
        1.5,
        _ratio(": json_to_binary", Work.TO_BINARY, [SMALL]),
    ),
    Target(
        "500x20: json_format.Parse / pure Python from_json, json_to_binary",
        5,
        _gain(Work.READ, Work.TO_BINARY),
        at_least=True,
        only="python",
    ),
    Target(
        "500x20: json_format.MessageToJson / pure Python to_json, binary_to_json",
        5,
        _gain(Work.WRITE, Work.FROM_BINARY),
        at_least=True,
        only="python",
    ),
    Target(
        "two threads / one: throughput of json_to_binary",
        1.7,
        lambda share: share["thread_gain"],
        at_least=True,
    ),
    Target("peak memory of json_to_binary beyond input and output / input", 1, _memory),
    Target("500x20: binary size / JSON size", 0.26, _size(LARGE)),
    Target("small: binary size / JSON size", 0.4, _size([SMALL])),
)
