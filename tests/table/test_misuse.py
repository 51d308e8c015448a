"""Arguments of wrong types: one line, which is a `ChatpbError` and a `TypeError`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb.table import Dataset, to_batch

RECORD = "a CompletionRecord or its binary form"


def _write(record: Any, path: Path) -> None:
    with Dataset(path).writer() as writer:
        writer.write(record)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        pytest.param(lambda _: Dataset(5), "a path, got an int", id="path"),  # type: ignore[arg-type]
        pytest.param(lambda _: Dataset(None), "a path, got None", id="no path"),  # type: ignore[arg-type]
        pytest.param(lambda _: to_batch(5), "an iterable of records, got an int", id="records"),  # type: ignore[arg-type]
        pytest.param(lambda _: to_batch([5]), f"{RECORD}, got an int", id="record"),  # type: ignore[list-item]
        pytest.param(lambda path: _write(5, path), f"{RECORD}, got an int", id="write"),
    ],
)
def test_arguments(use: Callable[[Path], object], expected: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"^expected {expected}$") as caught:
        use(tmp_path)
    assert isinstance(caught.value, chatpb.ChatpbError)
