"""Clean environments for the packages in dist/, which `make dist` builds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DIST: Final = ROOT / "dist"
SMOKE: Final = Path(__file__).parent / "smoke"


class Clean:
    """A fresh folder, and commands that see nothing but it and the programs that they name.

    Attributes:
        folder: where the commands run.
        data: a completion and a stream in JSON, and their binary forms.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data

    def run(
        self,
        *command: str | Path,
        programs: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Returns what a command prints; its PATH has `programs` and no others."""
        shims = self.folder / ".programs"
        shims.mkdir(exist_ok=True)
        for program in programs:
            found = shutil.which(program)
            assert found, f"{program} is not installed"
            (shims / program).unlink(missing_ok=True)
            (shims / program).symlink_to(found)
        kept = ("HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
        passed = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.lower().endswith("_proxy") or name.startswith(("PIP_", "UV_"))
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**passed, "PATH": str(shims), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert 0 == done.returncode, f"{' '.join(map(str, command))}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the smoke tests read."""
    folder = tmp_path_factory.mktemp("data")
    vectors = ROOT / "tests" / "vectors"
    for name, vector in {
        "completion.json": "completion_logprobs.json",
        "completion.binpb": "completion_logprobs.binpb",
        "stream.jsonl": "stream/fold_logprobs.jsonl",
        "folded.binpb": "stream/fold_logprobs.binpb",
    }.items():
        shutil.copyfile(vectors / vector, folder / name)
    return folder


@pytest.fixture
def clean(tmp_path: Path, data: Path) -> Clean:
    """A clean environment."""
    return Clean(tmp_path, data)
