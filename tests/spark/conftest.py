"""One Spark for all of its tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from spark.spark_session import cluster, session


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("spark")
    with cluster(folder) as master, session(folder, master) as found:
        yield found
