"""The Python distribution is installed from its files alone, without a compiler."""

from __future__ import annotations

import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest

from packages.conftest import DIST, ROOT, SMOKE, Clean

PACKAGES: Final = DIST / "python"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
UV: Final = ROOT / ".venv-uv" / "bin" / "uv"
WHEELS: Final = sorted(PACKAGES.glob("*.whl"))
COMPILED: Final = [wheel for wheel in WHEELS if not wheel.name.endswith("-none-any.whl")]


def _environment(clean: Clean) -> Path:
    clean.run(UV, "venv", "--quiet", "--python", sys.executable, "environment")
    return clean.folder / "environment" / "bin" / "python"


def _install(clean: Clean, *arguments: str | Path) -> Path:
    """Installs chatpb, and from the index what it needs; returns the python of the environment."""
    python = _environment(clean)
    needed: list[str | Path] = list(PROJECT["dependencies"])
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", python]
    clean.run(*install, *needed)
    clean.run(*install, *arguments)
    return python


def test_the_wheel_of_this_machine_is_native(clean: Clean) -> None:
    clean.run(sys.executable, "-m", "venv", "environment")
    python = clean.folder / "environment" / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    clean.run(*pip, *PROJECT["dependencies"])
    clean.run(*pip, "--no-index", "--find-links", PACKAGES, "chatpb")
    assert "passed\n" == clean.run(python, SMOKE / "smoke.py", "native", clean.data)


def test_the_pure_wheel_needs_nothing(clean: Clean) -> None:
    python = _install(clean, "--no-index", *PACKAGES.glob("*-none-any.whl"))
    assert "passed\n" == clean.run(python, SMOKE / "smoke.py", "python", clean.data)


def test_the_source_is_installed_without_cargo(clean: Clean) -> None:
    python = _install(clean, "--no-deps", *PACKAGES.glob("*.tar.gz"))
    assert "passed\n" == clean.run(python, SMOKE / "smoke.py", "python", clean.data)


def test_the_commands_are_installed(clean: Clean) -> None:
    (wheel,) = [wheel for wheel in COMPILED if "x86_64" in wheel.name]
    python = _install(clean, f"chatpb[cli,server] @ {wheel.as_uri()}")
    found = clean.run(python.parent / "chatpb", "roundtrip", clean.data / "completion.json")
    assert "1" in found
    assert "--listen" in clean.run(python.parent / "chatpb-server", "--help")


@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: str(wheel.name))
def test_a_wheel_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {
            re.sub(r"^chatpb-[^/]*\.dist-info/", "dist-info/", name) for name in archive.namelist()
        }
    expected = {
        "chatpb/__init__.py",
        "chatpb/py.typed",
        "chatpb/v1/descriptor_set.binpb",
        "chatpb/v1/chat_completion_pb2.pyi",
        "chatpb_server/__init__.py",
        "chatpb_server/py.typed",
        "_chatpb-stubs/__init__.pyi",
        "dist-info/licenses/LICENSE",
    }
    if wheel in COMPILED:
        expected |= {
            "_chatpb.abi3.so",
            "dist-info/licenses/THIRD-PARTY-NOTICES.txt",
            "dist-info/sboms/chatpb.cdx.json",
        }
    assert expected - names == set()
    assert not [name for name in names if name.startswith(("tests/", "release/", "benchmarks/"))]


def test_the_source_is_complete() -> None:
    (package,) = PACKAGES.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "native/Cargo.lock", "native/src/lib.rs", "_chatpb.pyi"} - names == set()
