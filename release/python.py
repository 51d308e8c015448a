"""The Python distribution: the source, a pure wheel, and a wheel with the extension per target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.archive import lay_out, read_tar, write_tar
from release.steps import ROOT, WORK, Step, run
from release.targets import LINUX, SOURCES, cargo, without_compilers
from release.wheels import finish

BUILD = [sys.executable, "-W", "ignore", "-m", "build", "--no-isolation", "--skip-dependency-check"]


def build(folder: Path, targets: Sequence[str]) -> None:
    """Writes the packages into `folder`; the wheels are made from what is in the source package."""
    made = WORK / "sdist"
    shutil.rmtree(made, ignore_errors=True)
    run([*BUILD, "--sdist", "--outdir", made, ROOT])
    shutil.rmtree(ROOT / "chatpb.egg-info", ignore_errors=True)
    (package,) = made.glob("*.tar.gz")
    files = read_tar(package)
    write_tar(folder / package.name, files)
    top = package.name.removesuffix(".tar.gz")
    lay_out(SOURCES, {name.removeprefix(f"{top}/"): content for name, content in files.items()})
    _wheel(folder, SOURCES, {"PATH": without_compilers()}, "any")
    for target in targets:
        platform = LINUX[target][0] if target in LINUX else ""
        _check(_wheel(folder, SOURCES, cargo(target), platform), bool(platform))


def _wheel(folder: Path, sources: Path, environment: Mapping[str, str], platform: str) -> Path:
    for left in ("build", "chatpb.egg-info"):
        shutil.rmtree(sources / left, ignore_errors=True)
    made = WORK / "wheel"
    shutil.rmtree(made, ignore_errors=True)
    option = [f"-C--build-option=--plat-name={platform}"] if platform not in ("", "any") else []
    run([*BUILD, "--wheel", *option, "--outdir", made, sources], environment=environment)
    (wheel,) = made.glob("*.whl")
    if wheel.name.endswith("-none-any.whl") != (platform == "any"):
        log = sources / "build" / "native.log"
        sys.exit(f"{wheel.name} is not for {platform or 'this machine'}: {log.read_text('utf-8')}")
    finish(wheel)
    shutil.copyfile(wheel, folder / wheel.name)
    return folder / wheel.name


def _check(wheel: Path, manylinux: bool) -> None:
    """Checks that a wheel needs no more of Python and of the C library than its name says."""
    run([sys.executable, "-m", "abi3audit", "--strict", wheel])
    if not manylinux:
        return
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    environment = {**os.environ, "COLUMNS": "1000"}  # otherwise it breaks lines
    shown = subprocess.check_output(command, text=True, env=environment)
    tag = wheel.stem.rpartition("-")[2]
    if f'"{tag}"' not in shown:
        sys.exit(f"{wheel.name} needs more than its name says:\n{shown}")


INPUTS = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "_chatpb.pyi"]
STEP = Step("python", [*INPUTS, "chatpb", "server", "native", "proto"], build)
