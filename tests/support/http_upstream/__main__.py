"""Runs the process of the misbehaving upstream: `python -m support.http_upstream [PORT]`."""

from __future__ import annotations

import asyncio
import resource
import sys

from support.http_upstream.server import main

if __name__ == "__main__":
    _, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
