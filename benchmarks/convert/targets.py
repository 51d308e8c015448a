"""The targets for converting, and the same ratios for every input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from common.limits import Limit, at_least, at_most, judge
from convert.inputs import (
    CHUNK_LINES,
    LARGE,
    LLAMA,
    LLAMA_STREAM,
    SMALL,
    SMALL_LINES,
    STREAM,
)
from convert.rows import Work

Share = dict[str, Any]  # what the processes of one implementation found, and the peers' cells


def verdicts(
    shares: dict[str, Share], peers: list[dict[str, Any]], preferred: str
) -> list[dict[str, Any]]:
    """Each target with the number of each implementation, and whether the judged one reaches it.

    Args:
        shares: What was measured, by implementation.
        peers: The cells of the peers.
        preferred: The implementation that is judged if a target is not for one alone.
    """
    found = {name: {**share, "peers": peers} for name, share in shares.items()}
    return judge(_TARGETS, found, preferred)


def ratios(shares: dict[str, Share], peers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ratios that there are targets for, of each implementation at each input.

    Args:
        shares: What was measured, by implementation.
        peers: The cells of the peers.
    """
    found = []
    for name, share in shares.items():
        whole = {**share, "peers": peers}
        inputs = [size["input"] for size in share["sizes"] if not size["is_many"]]
        for ratio, measure in _RATIOS.items():
            values = {each: measure([each])(whole) for each in inputs}
            found.append({"ratio": ratio, "implementation": name, "values": values})
    return found


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


def _gain(inputs: Iterable[str], *works: Work) -> Callable[[Share], float | None]:
    wanted = set(inputs)

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
            if cell["work"] not in works or cell["input"] not in wanted or place not in peers:
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


_Measure = Callable[[Iterable[str]], Callable[[Share], float | None]]


def _speed(function: str, work: Work, key: str = "ratio") -> _Measure:
    return lambda inputs: _ratio(f": {function}", work, inputs, key)


_RATIOS: Final[dict[str, _Measure]] = {
    "from_json / orjson.loads": _speed("from_json", Work.READ),
    "json_to_binary / orjson.loads": _speed("json_to_binary", Work.TO_BINARY),
    "json_to_binary / simdjson's parse": _speed(
        "json_to_binary", Work.TO_BINARY, "ratio_to_simdjson"
    ),
    "to_json / orjson.dumps": _speed("to_json", Work.WRITE),
    "binary_to_json / orjson.dumps": _speed("binary_to_json", Work.FROM_BINARY),
    "json_format.Parse / from_json, json_to_binary": (
        lambda inputs: _gain(inputs, Work.READ, Work.TO_BINARY)
    ),
    "json_format.MessageToJson / to_json, binary_to_json": (
        lambda inputs: _gain(inputs, Work.WRITE, Work.FROM_BINARY)
    ),
    "binary size / JSON size": _size,
}


# Of several inputs or functions the worst counts.
_DICTS: Final = (SMALL, STREAM, *LARGE)
_TARGETS: Final[tuple[Limit[Share], ...]] = (
    at_most(
        "500x20: json_to_binary / orjson.loads",
        0.35,
        _ratio(": json_to_binary", Work.TO_BINARY, LARGE),
        readme=True,
    ),
    at_most(
        "500x20: json_to_binary / simdjson's parse",
        2,
        _ratio(": json_to_binary", Work.TO_BINARY, LARGE, "ratio_to_simdjson"),
    ),
    at_most(
        "500x20: binary_to_json / orjson.dumps",
        1,
        _ratio(": binary_to_json", Work.FROM_BINARY, LARGE),
        readme=True,
    ),
    at_most("500x20: from_json / orjson.loads", 0.5, _ratio(": from_json", Work.READ, LARGE)),
    at_most(
        "small: json_to_binary / orjson.loads",
        1.5,
        _ratio(": json_to_binary", Work.TO_BINARY, [SMALL]),
        readme=True,
    ),
    at_most(
        "small: binary_to_json / orjson.dumps",
        1.3,
        _ratio(": binary_to_json", Work.FROM_BINARY, [SMALL]),
        readme=True,
    ),
    at_most(
        "small: to_json / orjson.dumps", 2, _ratio(": to_json", Work.WRITE, [SMALL]), readme=True
    ),
    at_most(
        "small: from_json / orjson.loads",
        1.2,
        _ratio(": from_json", Work.READ, [SMALL]),
        readme=True,
    ),
    at_most(
        "chunk of a stream: json_to_binary / orjson.loads",
        1,
        _ratio(": json_to_binary", Work.TO_BINARY, [STREAM]),
        readme=True,
    ),
    at_most(
        f"{CHUNK_LINES}: json_lines_to_binary / orjson.loads",
        0.6,
        _ratio(": json_lines_to_binary", Work.READ_LINES, [CHUNK_LINES]),
        readme=True,
    ),
    at_most(
        f"{SMALL_LINES}: json_lines_to_binary / orjson.loads",
        0.5,
        _ratio(": json_lines_to_binary", Work.READ_LINES, [SMALL_LINES]),
        readme=True,
    ),
    at_most(
        f"{SMALL_LINES}: binaries_to_json_lines / orjson.dumps",
        0.5,
        _ratio(": binaries_to_json_lines", Work.WRITE_LINES, [SMALL_LINES]),
        readme=True,
    ),
    at_most(
        "from_dict / orjson.dumps, from_json", 1, _ratio(": from_dict", Work.FROM_DICT, _DICTS)
    ),
    at_most("to_dict / to_json, orjson.loads", 1, _ratio(": to_dict", Work.TO_DICT, _DICTS)),
    at_least(
        "500x20: json_format.Parse / pure Python from_json, json_to_binary",
        5,
        _gain(LARGE, Work.READ, Work.TO_BINARY),
        only="python",
    ),
    at_least(
        "500x20: json_format.MessageToJson / pure Python to_json, binary_to_json",
        5,
        _gain(LARGE, Work.WRITE, Work.FROM_BINARY),
        only="python",
    ),
    at_least(
        "two threads / one: throughput of json_to_binary",
        1.7,
        lambda share: share["thread_gain"],
    ),
    at_most("peak memory of json_to_binary beyond input and output / input", 1, _memory),
    at_most("500x20: binary size / JSON size", 0.26, _size(LARGE), readme=True),
    at_most("small: binary size / JSON size", 0.4, _size([SMALL])),
    at_most(
        f"{LLAMA}: json_to_binary / orjson.loads",
        0.4,
        _ratio(": json_to_binary", Work.TO_BINARY, [LLAMA]),
    ),
    at_most(
        f"{LLAMA}: binary_to_json / orjson.dumps",
        1.1,
        _ratio(": binary_to_json", Work.FROM_BINARY, [LLAMA]),
    ),
    at_most(f"{LLAMA}: binary size / JSON size", 0.27, _size([LLAMA])),
    at_most(f"{LLAMA_STREAM}: binary size / JSON size", 0.27, _size([LLAMA_STREAM])),
)
