"""Which implementation is used, and what is reported if it is not the native one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCHEMA = (resources.files("chatpb.v1") / "descriptor_set.binpb").read_bytes()
INTERFACE = (ROOT / "_chatpb.pyi").read_bytes()
OTHER = b"another schema"


def _run(
    folder: Path, *, wanted: str = "", report: bool = False, checkout: Path = ROOT
) -> tuple[int, str, str]:
    """Imports chatpb in a folder, whose modules come first."""
    show = "import chatpb; print(chatpb.implementation)"
    arguments = [str(checkout / "native/report.py")] if report else ["-c", show]
    env = {**os.environ, "CHATPB_IMPLEMENTATION": wanted, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def _extension(folder: Path, source: str) -> None:
    """Puts a module in the place of the native extension."""
    folder.joinpath("_chatpb.py").write_text(source)


def _digest(schema: bytes) -> str:
    return hashlib.sha256(schema).hexdigest()[:12]


@pytest.mark.skipif(importlib.util.find_spec("_chatpb") is None, reason="it was not built")
def test_the_extension_contains_the_schema_and_the_interface_that_it_was_built_for() -> None:
    import _chatpb

    assert SCHEMA == _chatpb.DESCRIPTOR_SET
    assert INTERFACE == _chatpb.INTERFACE


def test_an_extension_of_another_schema_is_not_used(tmp_path: Path) -> None:
    _extension(tmp_path, f"DESCRIPTOR_SET = {OTHER!r}")
    code, out, err = _run(tmp_path)

    assert (0, "python\n") == (code, out)
    assert (
        f"RuntimeWarning: the native extension _chatpb was built for schema {_digest(OTHER)},"
        in err
    )
    assert f"but chatpb has schema {_digest(SCHEMA)}: reinstall chatpb" in err
    file = tmp_path / "_chatpb.py"
    assert f"reinstall chatpb where cargo is on the PATH, or remove {file};" in err


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param(f"INTERFACE = {OTHER!r}", _digest(OTHER), id="another interface"),
        pytest.param("", "(unknown)", id="it does not say"),
    ],
)
def test_an_extension_of_another_interface_is_not_used(
    tmp_path: Path, source: str, found: str
) -> None:
    _extension(tmp_path, f"DESCRIPTOR_SET = {SCHEMA!r}\n{source}\nTranscoder = None")
    code, out, err = _run(tmp_path)

    assert (0, "python\n") == (code, out)
    assert f"RuntimeWarning: the native extension _chatpb was built for interface {found}," in err
    assert f"but chatpb has interface {_digest(INTERFACE)}: reinstall chatpb" in err
    assert f"or remove {tmp_path / '_chatpb.py'};" in err
    code, _, err = _run(tmp_path, wanted="native")
    assert code == 1
    assert f"ImportError: the native extension _chatpb was built for interface {found}," in err


def test_an_extension_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    _extension(tmp_path, "raise ImportError('no symbol')")
    _, _, err = _run(tmp_path)

    assert f"or remove {tmp_path / '_chatpb.py'};" in err


@pytest.mark.parametrize(
    ("source", "part"),
    [
        pytest.param(f"DESCRIPTOR_SET = {OTHER!r}", _digest(OTHER), id="another schema"),
        pytest.param("", "schema (unknown)", id="it does not say"),
        pytest.param("raise ImportError('no symbol')", "be loaded: no symbol", id="unusable"),
        pytest.param(
            "raise ModuleNotFoundError('_chatpb')",
            "which was not built: install chatpb where cargo is on the PATH",
            id="not built",
        ),
    ],
)
def test_the_native_implementation_is_an_import_error_where_it_cannot_be_used(
    tmp_path: Path, source: str, part: str
) -> None:
    _extension(tmp_path, source)
    code, out, err = _run(tmp_path, wanted="native")

    assert (1, "") == (code, out)
    assert "ImportError: " in err
    assert part in err


@pytest.mark.parametrize(
    ("source", "warns"),
    [
        pytest.param("", True, id="it does not say"),
        pytest.param("raise ImportError('no symbol')", True, id="unusable"),
        pytest.param("raise ModuleNotFoundError('_chatpb')", False, id="not built"),
    ],
)
def test_without_a_usable_extension_the_pure_one_is_used(
    tmp_path: Path, source: str, warns: bool
) -> None:
    _extension(tmp_path, source)
    code, out, err = _run(tmp_path)

    assert (0, "python\n", warns) == (code, out, "RuntimeWarning" in err)


def test_the_pure_one_ignores_the_extension(tmp_path: Path) -> None:
    _extension(tmp_path, "raise SystemExit('imported')")
    assert (0, "python\n", "") == _run(tmp_path, wanted="python")


def test_an_unknown_implementation_is_refused(tmp_path: Path) -> None:
    code, _, err = _run(tmp_path, wanted="rust")

    assert code == 1
    assert "CHATPB_IMPLEMENTATION is 'rust'; expected python or native" in err


def test_the_report_gives_reason_and_cost(tmp_path: Path) -> None:
    _extension(tmp_path, f"DESCRIPTOR_SET = {OTHER!r}")
    for wanted, reason in (
        ("python", "CHATPB_IMPLEMENTATION=python selects it"),
        ("", f"was built for schema {_digest(OTHER)}"),
    ):
        code, out, err = _run(tmp_path, wanted=wanted, report=True)

        assert (0, "") == (code, err)
        assert "chatpb uses its pure Python implementation: " in out
        assert reason in out
        assert "writing JSON takes" in out


@pytest.mark.parametrize("source", [f"DESCRIPTOR_SET = {OTHER!r}", "raise ModuleNotFoundError"])
def test_the_report_gives_the_error_of_the_last_build(tmp_path: Path, source: str) -> None:
    """It does so even if an extension of another schema was left by an earlier build."""
    checkout = tmp_path / "checkout"
    for folder in ("native", "build", "docs"):
        (checkout / folder).mkdir(parents=True)
    for name in ("native/report.py", "docs/benchmarks.md"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "build/native.log").write_text("cargo failed\nerror: no linker\n")
    _extension(tmp_path, source)
    code, out, err = _run(tmp_path, report=True, checkout=checkout)

    assert (0, "") == (code, err)
    assert "cargo failed\n    error: no linker\n" in out
    assert ("was built for schema" in out) == ("DESCRIPTOR_SET" in source)
