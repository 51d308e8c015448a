"""The commands of docs/grpc.md run: all with `make test-tools`, which installs the programs.

Without that, those of this environment run that start fast.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

import chatpb.v1
from support.certificates import Certificates
from support.limits import within
from support.relay_process import end, listening, start
from support.terminal import relay_on_terminal, shell, tried

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "grpc.md").read_text("utf-8")
NODE = ROOT / "tests" / "polyglot" / "proto_loader" / "node_modules"
PROTOSET = Path(chatpb.v1.__file__).with_name("descriptor_set.binpb")
#: Whether all programs are there, and where they and those of this environment are.
REQUIRED = bool(os.environ.get("CHATPB_TOOLS"))
PATH = os.pathsep.join(
    [str(ROOT / ".tools" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
)
PROGRAMS = ("grpcurl", "ghz", "buf", "grpc-health-probe", "chatpb-server", "chatpb")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of the page: its language, its code, and parts of what it prints."""

    language: str
    code: str
    parts: str


BLOCKS = [Block(*(part or "" for part in found)) for found in BLOCK.findall(PAGE)]
SHELL = [block for block in BLOCKS if block.language == "sh"]


def program(block: Block) -> str:
    """The program that the commands of a block are about."""
    words: list[str] = re.findall(r"^([a-z-]+) ", block.code, re.MULTILINE)
    return next(word for word in words if word in PROGRAMS)


def require(name: str) -> None:
    """Skips a test, unless all run or its program starts fast."""
    if not REQUIRED and name != "buf":
        pytest.skip("it runs with make test-tools")


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a relay, for gRPC and for HTTP."""
    flags = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error")
    process = await start(*flags, "--store", f"sqlite:///{tmp_path}/chats.db")
    try:
        address = await listening(process)
        assert process.stdout is not None
        url = (await within(process.stdout.readline())).decode().removeprefix("http on http://")
        yield address, url.strip().removesuffix("/v1")
    finally:
        await end(process)


def test_every_tool_has_commands() -> None:
    assert {*PROGRAMS} == {program(block) for block in SHELL}
    assert ["js", "python"] == [block.language for block in BLOCKS if block.language != "sh"]


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=f"{program(block)}-{n}") for n, block in enumerate(SHELL)]
)
async def test_commands(block: Block, relay: tuple[str, str], tmp_path: Path) -> None:
    name = program(block)
    require(name)
    here = {"127.0.0.1:50051": relay[0], "127.0.0.1:8080": relay[1]}
    code, parts = block.code, block.parts
    for known, real in here.items():
        code, parts = code.replace(known, real), parts.replace(known, real)
    exit_code, output, errors = await shell(f"cd {tmp_path}; set -e\n({code}) 2>&1", PATH=PATH)
    assert (0, "") == (exit_code, errors), output
    for part in parts.splitlines():
        assert part in output
        output = output.partition(part)[2]


async def test_node(relay: tuple[str, str], tmp_path: Path) -> None:
    require("node")
    [block] = [block for block in BLOCKS if block.language == "js"]
    (tmp_path / "node_modules").symlink_to(NODE)
    (tmp_path / "client.mjs").write_text(block.code)
    command = f"node {tmp_path}/client.mjs {relay[0]} {PROTOSET}"
    exit_code, output, errors = await shell(command)
    assert (0, "") == (exit_code, errors)
    completion, stream = (re.split(": +", line, maxsplit=1) for line in output.splitlines())
    assert ("completion", "stream") == (completion[0], stream[0])
    assert completion[1] == stream[1]
    assert completion[1].endswith(" FINISH_REASON_STOP")


async def test_python(relay: tuple[str, str]) -> None:
    [block] = [block for block in BLOCKS if block.language == "python"]
    code = block.code.replace("127.0.0.1:50051", relay[0])
    exit_code, output, errors = await shell(f"{sys.executable} - <<'END'\n{code}\nEND")
    assert (0, "") == (exit_code, errors)
    assert re.fullmatch(r"demo \d+\n", output)


async def test_the_command_for_grpcurl_that_a_relay_shows(tmp_path: Path) -> None:
    require("grpcurl")
    certificates = Certificates(tmp_path)
    script = Path(sys.executable).with_name("chatpb-server")
    made = subprocess.run([script, "token", "alice"], capture_output=True, text=True, check=True)
    (tmp_path / "tokens").write_text(made.stdout)
    token = re.findall(r"chatpb_\S+", made.stderr)[0]
    for flags in ((), (*certificates.flags, "--tokens", tmp_path / "tokens")):
        async with relay_on_terminal("--listen", "127.0.0.1:0", *flags) as lines:
            command = tried(lines, "grpcurl")
            exit_code, output, errors = await shell(command, PATH=PATH, TOKEN=token)
        assert (0, "") == (exit_code, errors)
        assert '"model": "demo"' in output
