"""The README's code runs, and its table is what the command prints."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatpb
import chatpb.v1
from chatpb.log import LogWriter
from chatpb.table import Dataset
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.seeded import seeded

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def relay() -> Iterator[str]:
    """The address of a relay, as its users start it."""
    script = Path(sys.executable).with_name("chatpb-server")
    command = [str(script), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening on ").strip()
        process.terminate()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the examples, where files may be written."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_python_blocks_run(relay: str, place: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = []
    for block in blocks:
        code = block.replace("127.0.0.1:50051", relay)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=place, check=True
        )
        printed.append(done.stdout.splitlines())
    converted, [stored], [created, streamed], [answered] = printed
    assert "'model': 'example-model', 'total_tokens': 11" in stored
    assert ["Hi 👋 5.37e-06", "$.service_tier extra turbo"] == converted[:2]
    assert created == streamed.replace("|", "") == answered


@pytest.mark.parametrize("page", ["log.md", "storage.md"])
def test_python_blocks_of_pages_run(page: str, place: Path) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL
    )
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=place, check=True)
    assert blocks


def test_the_commands_of_storage_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    with LogWriter(tmp_path / "log" / "a.chatpb.zst") as log:
        for record in seeded():
            record.caller = record.caller.replace("web", "alice")
            if record.HasField("completion"):
                record.completion.usage.total_tokens += 2000
            log.append(record)
    example = chatpb.from_json((ROOT / "examples/completion.json").read_bytes())
    Path("responses.jsonl").write_bytes(chatpb.to_json(example) + b"\n")
    section = README[README.index("## Storage") :]
    done = []
    for line in re.findall(r"^    (chatpb .*)", section, re.MULTILINE):
        arguments = [
            argument.replace("s3://bucket", "elsewhere")
            for argument in shlex.split(line, comments=True)
        ]
        result = run(*arguments[1:])
        assert 0 == result.exit_code, (line, result.stderr)
        done.append(arguments[1])
    assert ["compact", "sql", "grep", "grep", "export", "export", "optimize", "delete"] == done[:8]
    kept = [CompletionRecord.FromString(data) for data in Dataset("completions").records()]
    assert (41, {"", "app", "batch"}) == (len(kept), {record.caller for record in kept})
    assert all(Path(name).stat().st_size for name in ("answers.jsonl", "train.parquet"))


def test_the_table_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "chatpb", "roundtrip", "examples/completion.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    for line in done.stdout.splitlines():
        assert f"    {line}".rstrip() in README.splitlines()


def test_every_public_name_is_mentioned() -> None:
    for name in chatpb.__all__:
        ways = (f"`{name}", f"`chatpb.{name}`", f"chatpb.{name}(")
        assert any(way in README for way in ways) or name == "ResidueMember", name
    for rpc in ("CreateChatCompletion", "StreamChatCompletion"):
        assert f"`{rpc}`" in README


def test_the_public_names() -> None:
    assert chatpb.__all__ == [
        "ChatpbError",
        "ConversionError",
        "ResidueMember",
        "binaries_to_json_lines",
        "binary_to_json",
        "clear_residue",
        "fold",
        "from_dict",
        "from_json",
        "implementation",
        "json_lines_to_binary",
        "json_to_binary",
        "residue",
        "to_dict",
        "to_json",
        "unfold",
    ]


def test_v1_exports_every_message_and_enum() -> None:
    found = pkgutil.iter_modules(chatpb.v1.__path__, "chatpb.v1.")
    modules = [importlib.import_module(name) for _, name, _ in found if name.endswith("_pb2")]
    names = {
        name
        for module in modules
        for table in ("message_types_by_name", "enum_types_by_name")
        for name in getattr(module.DESCRIPTOR, table)
    }
    service = {name for name in names if re.search(r"(Create|Stream)ChatCompletionRe", name)}
    assert sorted(names | service) == sorted({*chatpb.v1.__all__, *service})
