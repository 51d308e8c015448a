"""What the tests of the clients share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatpb.client import AsyncClient
from support.chat_server import Server, served
from support.clients import Twin


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with served() as servicer:
        yield servicer


@pytest.fixture(params=[AsyncClient, Twin], ids=["async", "sync"])
def connect(request: pytest.FixtureRequest) -> Any:
    """The class of one client or the other; they have no common type."""
    return request.param
