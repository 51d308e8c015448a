"""TensorZero's gateway in a process of its own: ``tensorzero_gateway.py CONFIG``."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import Any


async def _serve(config: str) -> None:
    output = os.dup(1)
    os.dup2(2, 1)  # its log
    tensorzero: Any = importlib.import_module("tensorzero")
    gateway = await tensorzero._start_http_gateway(
        config_file=config,
        clickhouse_url=None,
        postgres_url=None,
        valkey_url=None,
        async_setup=True,
    )
    os.write(output, f"listening on {gateway.base_url}\n".encode())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
