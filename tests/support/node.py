"""OpenAI's client for Node, which `make test-node` installs."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, Final

from support.relay_process import finish

_FOLDER: Final = Path(__file__).parents[1] / "polyglot" / "node"
INSTALLED: Final = (_FOLDER / "node_modules").exists()


async def node(url: str, cases: dict[str, list[str]]) -> dict[str, Any]:
    """What the client gives in each case."""
    process = await asyncio.create_subprocess_exec(
        *("node", _FOLDER / "client.mjs", url, json.dumps(cases)), stdout=PIPE, stderr=PIPE
    )
    code, output, errors = await finish(process)
    assert (0, "") == (code, errors)
    results: dict[str, Any] = json.loads(output)
    return results
