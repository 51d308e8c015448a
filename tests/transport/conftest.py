"""What the tests of the transport share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Which kind of the SDK."""
    return bool(request.param)
