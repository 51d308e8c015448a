"""All packages have the version of pyproject.toml, and `make version V=` sets all of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = [
    "CHANGELOG.md",
    "deploy",
    "docs",
    "examples",
    "native",
    "polyglot",
    "pyproject.toml",
    "release",
    "uv.lock",
]
MANIFESTS: Final = [
    "CHANGELOG.md",
    "deploy/README.md",
    "deploy/kubernetes.yaml",
    "docs/polyglot.md",
    "examples/kubernetes/kustomization.yaml",
    "native/Cargo.lock",
    "native/Cargo.toml",
    "native/core/Cargo.toml",
    "polyglot/typescript/package-lock.json",
    "polyglot/typescript/package.json",
    "pyproject.toml",
    "uv.lock",
]


def _versions(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "release.versions", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


def _copy(folder: Path) -> Path:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SOURCES]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_all_packages_have_the_same_version() -> None:
    done = _versions(ROOT)
    assert (0, "") == (done.returncode, done.stderr)


def test_one_command_sets_all_versions(tmp_path: Path) -> None:
    checkout = _copy(tmp_path)
    done = _versions(checkout, "--set", "97.98.99")
    assert (0, "97.98.99\n", "") == (done.returncode, done.stdout, done.stderr)
    for name in MANIFESTS:
        assert "97.98.99" in (checkout / name).read_text("utf-8"), name
    assert 0 == _versions(checkout, "--tag", "v97.98.99").returncode
    assert (
        "the tag v97.98.98 is not v97.98.99\n" == _versions(checkout, "--tag", "v97.98.98").stderr
    )


def test_another_version_is_an_error(tmp_path: Path) -> None:
    checkout = _copy(tmp_path)
    package = checkout / "polyglot/typescript/package.json"
    text = package.read_text("utf-8")
    package.write_text(text.replace('"version": "', '"version": "9', 1), "utf-8")
    assert _versions(checkout).stderr.startswith("polyglot/typescript/package.json: 9")
    assert "not a version such as 0.2.0: 'v1'\n" == _versions(checkout, "--set", "v1").stderr
