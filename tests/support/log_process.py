"""A process that appends to a log until it is killed, and reports what was acknowledged.

Prints ``recovered OFFSET SIZE`` for each torn end that it cut, ``ready``, and a line
``NUMBER FILE OFFSET INDEX`` for each record whose future is done.
"""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import Future
from pathlib import Path

from chatpb.log import LogWriter, Position, Sync
from support.log_files import record


def main(path: str, first: str, seed: str, keys: str | None = None) -> None:
    """Appends records, numbered from `first`, with settings that the seed chooses."""
    rng = random.Random(seed)
    say = os.write
    piece = rng.choice([16, 16, 16, 1 << 30])  # most often, many system calls write one frame
    os.write = lambda fd, data: say(fd, memoryview(data)[:piece])
    writer = LogWriter(
        path,
        sync=rng.choice(list(Sync)),
        sync_seconds=rng.choice([0, 0.01]),
        frame_bytes=rng.choice([1, 1000, 20_000]),
        frame_seconds=rng.choice([0, 0.005]),
        max_bytes=20_000 if os.path.isdir(path) else None,
        max_pending_bytes=200_000,
        keys=keys,
    )
    for damage in writer.recovered:
        say(1, f"recovered {damage.offset} {damage.size}\n".encode())
    say(1, b"ready\n")
    number = int(first)
    while True:
        line = str(number)

        def tell(future: Future[Position], line: str = line) -> None:
            place = future.result()
            name = Path(place.path).name
            say(1, f"{line} {name} {place.frame_offset} {place.index}\n".encode())

        writer.append(record(number, rng.choice([0, 100, 3000]))).add_done_callback(tell)
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
