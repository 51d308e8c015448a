"""The process that callgrind counts in: does each operation in turn. `count.py` starts it.

Counting begins after each operation has run already: what is compiled and cached once is not in it.
What it takes to begin and to end falls out, since a loop without calls is counted too.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from instructions.operations import Call, operations


def main() -> None:
    """Counts the operations whose names match the patterns."""
    library, *patterns = sys.argv[1:]
    requests = ctypes.CDLL(library)
    for operation in operations(patterns):
        call = operation.prepare()
        gc.collect()
        gc.disable()
        _run(call, operation.times)
        for times in (0, operation.times):
            requests.begin()
            _run(call, times)
            requests.end(f"{times * operation.units} {operation.name}".encode())
        gc.enable()


def _run(call: Call, times: int) -> None:
    for _ in range(times):
        call()


if __name__ == "__main__":
    main()
