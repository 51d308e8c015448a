"""The databases of the tests of the store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chatpb.store import Store
from support import postgres
from support.stored import opened

KINDS = ["file", "memory"]
if postgres.VARIABLE in os.environ:
    KINDS.append("postgresql")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL server."""
    programs = os.environ.get(postgres.VARIABLE)
    if programs is None:
        pytest.skip("make test-postgres runs it")
    with postgres.served(programs) as running:
        yield running


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "postgresql":
        server: postgres.PostgresServer = request.getfixturevalue("server")
        return server.new_database()
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A store on an empty database of each kind."""
    async with opened(url) as opened_store:
        yield opened_store
