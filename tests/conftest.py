"""What all tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run; `make soak` looks at many more.
settings.register_profile(
    "default",
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("soak", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for each two processors: many tests wait for processes and time limits."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from what collection made: it took a sixth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of recorded traffic that the environment variable CHATPB_CORPUS names."""
    folder = os.environ.get("CHATPB_CORPUS")
    if not folder:
        pytest.skip("CHATPB_CORPUS names no folder of recorded traffic")
    return Path(folder)
