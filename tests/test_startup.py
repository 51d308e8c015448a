"""What is imported when: packages import what they export when it is first used."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
import pytest

import chatpb
import chatpb.v1
from chatpb._cli import commands
from chatpb._cli.app import app

PACKAGES: Final[list[Any]] = [chatpb, chatpb.v1]
#: Imported at once, so that errors have their public names even if nothing else is used.
AT_ONCE: Final = {"ChatpbError", "ConversionError"}
#: Modules that take long to import, of which a conversion needs none.
HEAVY: Final = {
    "asyncio",
    "email",
    "grpc",
    "http",
    "httpx2",
    "importlib.resources",
    "numpy",
    "pathlib",
    "pyarrow",
    "pydantic",
    "sqlite3",
    "ssl",
    "tempfile",
    "urllib",
    "zstandard",
}
EMPTY: Final = 'chatpb.from_json(b"{}")'


def imported(code: str) -> set[str]:
    """The modules that code imports in a new process, without those that every process has.

    The process does without the files of ``site-packages`` that import modules.
    """
    found = f"""
import sys
before = {{*sys.modules}}
sys.path[:0] = {[str(Path(chatpb.__file__).parents[1]), *sys.path]!r}
{code}
after = [*sys.modules]
import json
print(json.dumps([name for name in after if name not in before]))
"""
    command = [sys.executable, "-S", "-W", "error", "-c", found]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {*json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_each_name_is_imported_from_where_type_checkers_find_it(package: Any) -> None:
    source = ast.parse(inspect.getsource(package))
    checked = next(node for node in source.body if isinstance(node, ast.If)).body
    places = {
        name.name: node.module
        for node in checked
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    assert sorted(package.__all__) == sorted({*places, *AT_ONCE} if package is chatpb else places)
    for name, place in places.items():
        item = package.__getattr__(name)
        assert item is getattr(importlib.import_module(place), name)
        assert item is vars(package)[name]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_names_are_listed_and_imported_before_their_use(package: Any) -> None:
    name = package.__name__
    code = f"""
import {name} as package
assert {{*package.__all__}} <= {{*dir(package)}}
names = {{}}
exec("from {name} import *", names)
assert {{*package.__all__}} == names.keys() - {{"__builtins__"}}
"""
    assert name in imported(code)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'chatpb' has no attribute 'to_yaml'$"):
        _ = chatpb.to_yaml  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"^module 'chatpb\.v1' has no attribute 'Answer'$"):
        _ = chatpb.v1.Answer  # type: ignore[attr-defined]


def test_modules_of_the_schema_are_attributes() -> None:
    code = """
import chatpb
assert chatpb.v1.error_pb2.Error is chatpb.v1.Error
"""
    assert "chatpb.v1.error_pb2" in imported(code)


def test_threads_can_use_names_for_the_first_time_at_once() -> None:
    code = """
import chatpb, chatpb.v1
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
names = [(package, name) for package in (chatpb, chatpb.v1) for name in package.__all__] * 2
barrier = Barrier(16)
def use(place):
    barrier.wait()
    return [getattr(*names[number % len(names)]) for number in range(place, place + len(names))]
with ThreadPoolExecutor(16) as pool:
    results = [set(map(id, found)) for found in pool.map(use, range(0, 16 * 17, 17))]
assert results == [results[0]] * 16
"""
    assert "chatpb._stream.fold" in imported(code)


def test_importing_chatpb_imports_nothing_else() -> None:
    expected = {"__future__", "chatpb", "chatpb._errors", "chatpb._public"}
    assert expected == imported("import chatpb")


@pytest.mark.skipif(chatpb.implementation == "python", reason="the reference needs more")
def test_a_conversion_imports_the_messages_that_it_needs_and_no_reference() -> None:
    found = imported(f"import chatpb; {EMPTY}")
    assert set() == found & {*HEAVY, "dataclasses", "hashlib", "inspect", "json", "orjson"}
    expected = {"_chatpb", "chatpb", "chatpb._errors", "chatpb._public", "chatpb.v1"}
    mapping = {"", ".arguments", ".convert", ".native"}
    expected |= {f"chatpb._mapping{name}" for name in mapping}
    ours = {name for name in found if name.lstrip("_").startswith("chatpb")}
    assert expected == {name for name in ours if not name.endswith("_pb2")}
    assert {"chatpb.v1.chat_completion_pb2", "chatpb.v1.residue_pb2"} <= ours
    assert set() == ours & {"chatpb.v1.chat_completion_request_pb2", "chatpb.v1.error_pb2"}


def run_cli(*arguments: str) -> str:
    """The code of ``chatpb`` with arguments, which must succeed."""
    return f"""
sys.argv[1:] = {arguments!r}
from chatpb._cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def test_the_help_imports_no_command_and_no_protobuf() -> None:
    found = imported(run_cli("--help"))
    assert set() == found & {*HEAVY, "google.protobuf"}
    cli = {"", ".app", ".commands", ".failure", ".main"}
    expected = {"chatpb", "chatpb._errors", "chatpb._extras", "chatpb._public"}
    expected |= {f"chatpb._cli{name}" for name in cli}
    assert expected == {name for name in found if name.startswith("chatpb")}


def test_the_help_begins_as_those_of_the_commands() -> None:
    folder = Path(commands.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {name.replace("-", "_") for name in commands.SUMMARIES}
    for name, summary in commands.SUMMARIES.items():
        command = app.get_command(click.Context(app), name)
        assert command is not None
        assert summary == command.get_short_help_str(200)


@pytest.mark.skipif(chatpb.implementation == "python", reason="the reference needs more")
def test_a_command_imports_what_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "response.json"
    file.write_text("{}")
    found = imported(run_cli("to-json", str(file)))
    assert set() == found & {*HEAVY, "rich", "tempfile"}
    ours = {name for name in found if name.startswith("chatpb.")}
    assert {"chatpb._cli.commands.to_json", "chatpb._mapping.convert"} <= ours
    parts = ("_mapping.reference", "_mapping.reader", "_stream.fold", "log", "table", "client")
    assert set() == ours & {f"chatpb.{part}" for part in parts}
