"""Who follows docs/polyglot.md to the letter, in an empty folder, gets a program that works."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Final

import pytest

from polyglot.new_projects.conftest import DECODED, FOLDED
from polyglot.new_projects.page import section, steps

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "polyglot.md"
PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"])
#: The programs that a language needs before anything is installed.
TOOLS: Final = {
    "Go": ("go",),
    "TypeScript": ("node", "npm"),
    "Java": ("mvn", "javac"),
    "Rust": ("cargo",),
    "C++": ("g++", "cargo"),
}
#: What tools take for errors where a page cannot say so, and where they keep what they have built.
ENVIRONMENT: Final = {
    "CARGO_TARGET_DIR": str(ROOT / "build" / "new-projects" / "rust"),
    "PATH": PATH,
    "RUSTFLAGS": "-D warnings",
}
TIME: Final = 600.0


def script(title: str, address: str, stash: Path) -> str:
    """Returns a script that does what a section says, in the current folder."""
    lines = ['project="$PWD"']
    for number, step in enumerate(steps(section(PAGE.read_text("utf-8"), title))):
        text = step.text.replace("/path/to/chatpb", str(ROOT)).replace("localhost:50051", address)
        if step.file is None:
            lines.append(text)
        else:
            (stash / str(number)).write_text(text, "utf-8")
            target = f'"$project/{step.file}"'
            lines.append(f'mkdir -p "$(dirname {target})" && cp "{stash / str(number)}" {target}')
    return "\n".join(lines)


@pytest.mark.parametrize("title", TOOLS)
async def test_a_new_project(title: str, relay: str, project: Path, tmp_path: Path) -> None:
    missing = [tool for tool in TOOLS[title] if not shutil.which(tool, path=PATH)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    command = ["sh", "-e", "-x", "-c", script(title, relay, tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=project, env={**environment, **ENVIRONMENT}, stdout=PIPE, stderr=STDOUT
    )
    try:
        output = (await asyncio.wait_for(process.communicate(), TIME))[0].decode("utf-8", "replace")
    except TimeoutError:
        process.kill()
        raise
    assert 0 == process.returncode, output
    lines = output.splitlines()
    assert f"decoded {DECODED}" in lines, output
    assert f"folded {FOLDED}" in lines, output
    assert [line for line in lines if line.startswith("relay ") and line != "relay "], output
