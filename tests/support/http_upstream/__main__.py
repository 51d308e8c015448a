"""Runs the process of the misbehaving upstream: `python -m support.http_upstream [PORT]`."""

from __future__ import annotations

import asyncio
import resource
import sys

from support.http_upstream.server import main


def run(port: int) -> None:
    """Runs it, until the end of standard input."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(port))


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
