"""The tests mirror the packages, and no file of them is too long to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
TESTS: Final = ROOT / "tests"
MOST_LINES: Final = 520
#: Folders of data, and of what is installed or built.
NOT_WRITTEN: Final = {"vectors", "golden", "node_modules", "target", "__pycache__"}
SUFFIXES: Final = {".cpp", ".go", ".h", ".java", ".mjs", ".py", ".rs", ".ts"}
#: Packages of `chatpb` with another folder than that of their name, and why.
#: The generated messages, whose contents are the mapping's, and the events of streams.
ELSEWHERE: Final = {"v1": "mapping", "sse": "stream"}


def _written() -> Iterator[Path]:
    for folder, folders, files in os.walk(TESTS):
        folders[:] = [name for name in folders if name not in NOT_WRITTEN]
        yield from (Path(folder, name) for name in files if Path(name).suffix in SUFFIXES)


def _packages(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def test_no_file_is_too_long() -> None:
    lengths = {
        str(path.relative_to(TESTS)): len(path.read_text("utf-8").splitlines())
        for path in _written()
    }
    assert {} == {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


@pytest.mark.parametrize("package", _packages(ROOT / "chatpb"))
def test_each_package_has_a_folder_of_tests(package: str) -> None:
    folder = TESTS / ELSEWHERE.get(package, package.removeprefix("_"))
    assert list(folder.glob("test_*.py"))


@pytest.mark.parametrize("package", _packages(ROOT / "server" / "chatpb_server"))
def test_each_package_of_the_relay_has_tests(package: str) -> None:
    """All are in one folder, since most of them test a relay as a whole."""
    uses = re.compile(rf"\bchatpb_server\.{package}\b")
    assert any(uses.search(path.read_text("utf-8")) for path in TESTS.glob("relay/test_*.py"))
