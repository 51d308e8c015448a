"""Runs the relay's command in callgrind: ``relay_worker REQUESTS NAME... -- ARGUMENT...``.

A line on the standard input begins to count, the next ends it and writes the count under the next
name; each is answered with a line on the standard output.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading


def main() -> None:
    """Runs the relay."""
    from chatpb_server.running.main import main as run

    split = sys.argv.index("--")
    requests = ctypes.CDLL(sys.argv[1])
    names = sys.argv[2:split]
    told = os.dup(sys.stdout.fileno())

    def take_orders() -> None:
        for name in names:
            sys.stdin.buffer.readline()
            requests.begin()
            os.write(told, b"begun\n")
            sys.stdin.buffer.readline()
            requests.end(name.encode())
            os.write(told, b"ended\n")

    threading.Thread(target=take_orders, daemon=True).start()
    del sys.argv[1 : split + 1]
    gc.disable()  # else one call pays for what many have left
    run()


if __name__ == "__main__":
    main()
