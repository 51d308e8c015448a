"""Other readers of tables, as docs/queries.md shows them: `make test-readers` runs these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chatpb.table import Dataset
from support.seeded import seeded
from table.test_queries import BLOCKS

pytest.importorskip("datasets")
pytest.importorskip("chdb")

PRINTED = {
    "Hugging Face datasets": ["60 assistant\n", "60 3\n"],
    "ClickHouse": ['"gpt-4.1",27,5335\n"gpt-4.1-mini",27,7024\n\n21\n\n'],
}


@pytest.mark.parametrize("heading", PRINTED)
def test_readers(heading: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    Dataset(tmp_path / "table").append(seeded()[:40])
    Dataset(tmp_path / "table").append(seeded()[40:])
    texts = [text for _, text, above in BLOCKS if above == heading]
    for text, expected in zip(texts, PRINTED[heading], strict=True):
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert 0 == done.returncode, done.stderr
        assert expected == done.stdout
