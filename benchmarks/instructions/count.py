"""How many instructions operations take, as callgrind counts them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import chatpb
from instructions.operations import is_chosen, operations
from instructions.relayed import NAMES, relay

BENCHMARKS: Final = Path(__file__).resolve().parents[1]
_REQUESTS: Final = Path(__file__).with_name("requests.c")
_DUMP: Final = re.compile(r"^desc: Trigger: Client Request: (\d+) (.+)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Counted:
    """An operation that was counted.

    Attributes:
        instructions: How many instructions one takes.
        dump: What callgrind wrote about the functions that took them.
    """

    instructions: int
    dump: Path


class CountError(Exception):
    """Something that is needed is missing, or an operation failed."""


@contextmanager
def counted(patterns: Sequence[str]) -> Iterator[dict[str, Counted]]:
    """Counts the operations whose names match one of the patterns, or all without a pattern.

    The dumps are there as long as the context lasts.

    Raises:
        CountError: The process failed, or there is no valgrind or compiler.
    """
    with tempfile.TemporaryDirectory() as name:
        library = f"{name}/requests.so"
        _call(["cc", "-O1", "-shared", "-fPIC", "-o", library, str(_REQUESTS)])
        found: dict[str, Counted] = {}
        if any(operations(patterns)):
            _call([*_valgrind(f"{name}/convert"), "instructions.worker", library, *patterns])
            found |= _read(Path(name), "convert.*")
        if any(is_chosen(each, patterns) for each in NAMES):
            log = Path(name, "log")
            try:
                with log.open("wb") as file:
                    asyncio.run(relay(_valgrind(f"{name}/relay"), library, _environment(), file))
            except (TimeoutError, EOFError) as error:
                raise CountError(f"the relay failed: {error!r}\n{log.read_text()}") from None
            found |= _read(Path(name), "relay.*")
        yield {name: each for name, each in found.items() if is_chosen(name, patterns)}


def _valgrind(dumps: str) -> list[str]:
    """What runs a module of Python in callgrind, which writes its dumps to such files."""
    options = ["--instr-atstart=no", "--dump-line=no", f"--callgrind-out-file={dumps}"]
    callgrind = ["valgrind", "--quiet", "--tool=callgrind", *options]
    # With addresses that change, so do the places in hash tables of keys that are addresses.
    return ["setarch", "-R", *callgrind, sys.executable, "-P", "-m"]


def _environment() -> dict[str, str]:
    # A variable more or less moves the stack.
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(BENCHMARKS),
        "PYTHONHASHSEED": "0",
        "CHATPB_IMPLEMENTATION": chatpb.implementation,
    }


def _call(command: list[str]) -> None:
    env = _environment()
    try:
        process = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise CountError(f"{command[0]} is not installed") from None
    if process.returncode:
        raise CountError(f"{command[0]} failed:\n{process.stdout.decode(errors='replace')}")


def _read(folder: Path, dumps: str) -> dict[str, Counted]:
    found: dict[str, Counted] = {}
    nothing = 0
    for dump in sorted(folder.glob(dumps), key=lambda path: int(path.suffix[1:])):
        written = dump.read_text(errors="replace")
        named, total = _DUMP.search(written), _TOTAL.search(written)
        assert named
        assert total
        times = int(named[1])
        if times:
            found[named[2]] = Counted(round((int(total[1]) - nothing) / times), dump)
        else:
            nothing = int(total[1])
    return found


def environment() -> dict[str, str]:
    """What decides about the counts, other than the code of this repository."""
    native = importlib.util.find_spec("_chatpb")
    code = Path(native.origin).read_bytes() if native and native.origin else b""
    built = re.search(rb"rustc version (\d+\.\d+)", code)
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "implementation": chatpb.implementation,
        "machine": platform.machine() + (" with AVX2" if flags and "avx2" in flags[1] else ""),
        "python": f"CPython {'.'.join(platform.python_version_tuple()[:2])}",
        "compiler": f"Rust {built[1].decode()}" if built else "",
        "libc": " ".join(platform.libc_ver()),
    }
