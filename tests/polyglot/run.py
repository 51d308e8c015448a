"""Builds and runs the conformance runners of all languages against one relay.

    python tests/polyglot/run.py                 # all languages that have a toolchain here
    python tests/polyglot/run.py go rust         # these two
    python tests/polyglot/run.py --docs          # and writes the table into docs/polyglot.md

tests/vectors/README.md specifies what a runner is and what it prints.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from polyglot.outcome import Outcome, read_lines, table, wrong_limits
from support.build import chunk
from support.http_upstream import HANG, HttpUpstream, sse_answer
from support.limits import LONG_TIMEOUT
from support.relay_process import end, listening, start

ROOT: Final = Path(__file__).parents[2]
VECTORS: Final = ROOT / "tests/vectors"
LIMITS: Final[dict[str, dict[str, dict[str, str]]]] = tomllib.loads(
    (ROOT / "tests/polyglot/limits.toml").read_text()
)
DOCS: Final = ROOT / "docs/polyglot.md"
BUILT: Final = ROOT / "build/polyglot"
MARKS: Final = ("<!-- begin: written by `make polyglot ARGS=--docs` -->\n", "<!-- end -->")


@dataclass(frozen=True)
class Language:
    """A language and its runner.

    Attributes:
        title: Its name, for people.
        tools: The programs that build the runner.
        command: The command that starts the runner.
        kinds: The kinds of cases that it reports in addition to those of every language.
        fuzzes: Whether the runner takes part in comparing implementations (`--fuzz`).
    """

    title: str
    tools: tuple[str, ...]
    command: tuple[str | Path, ...]
    kinds: tuple[str, ...] = ()
    fuzzes: bool = False


STREAMS: Final = ("fold", "unfold", "compact", "sse")
_JAVA: Final = BUILT / "java-target"
LANGUAGES: Final = {
    "go": Language(
        "Go",
        ("go",),
        (BUILT / "go-runner",),
        ("textformat", "json_view", "json", *STREAMS),
        fuzzes=True,
    ),
    "java": Language(
        "Java",
        ("mvn", "javac", "cargo"),
        ("java", "-cp", f"{_JAVA / 'classes'}:{_JAVA / 'lib'}/*", "chatpb.conformance.Main"),
        ("textformat", "json_view", "json", *STREAMS),
    ),
    "typescript": Language(
        "TypeScript",
        ("node", "npm", "cargo"),
        ("node", ROOT / "tests/polyglot/typescript/build/main.js"),
        ("json_view", "json", *STREAMS),
        fuzzes=True,
    ),
    "rust": Language(
        "Rust",
        ("cargo",),
        (BUILT / "rust-target/debug/chatpb-conformance",),
        ("json", *STREAMS),
        fuzzes=True,
    ),
    "cpp": Language(
        "C++",
        ("cargo", "g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
        (BUILT / "cpp-runner",),
        ("textformat", "json_view", "json", *STREAMS),
    ),
}


def expected(language: Language) -> dict[str, set[str]]:
    """The cases that a runner must report at least, by kind."""
    names = {vector["name"] for vector in manifest(".")}
    binary = manifest("binary")
    valid = {vector["name"] for vector in binary if not vector.get("invalid")}
    cases = {
        "parse": names | valid,
        "serialize": names | valid,
        "reject": {vector["name"] for vector in binary} - valid,
        "relay": {"unary", "stream", "compact", "cancel", "deadline", "error"},
    }
    of_some = {
        "textformat": names,
        "json_view": names,
        "json": names | {f"invalid/{vector['name']}" for vector in manifest("invalid")},
    }
    for vector in manifest("stream"):
        of_some.setdefault(vector["kind"], set()).add(vector["name"])
    return cases | {kind: of_some[kind] for kind in language.kinds}


def manifest(folder: str) -> list[dict[str, Any]]:
    """The vectors of a folder."""
    found: list[dict[str, Any]] = json.loads((VECTORS / folder / "manifest.json").read_text())
    return found


def missing_tools(language: Language) -> list[str]:
    """The programs that the build needs and that are not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"])
    return [tool for tool in language.tools if shutil.which(tool, path=path) is None]


def build(name: str) -> bool:
    """Generates and builds; whether that worked."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", f".build-{name}"]
    return subprocess.run(command, cwd=ROOT, env=environ, stdout=sys.stderr).returncode == 0


@asynccontextmanager
async def relay() -> AsyncIterator[str]:
    """The address of a relay: model "m" answers at once, and "slow" never completes an answer."""
    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(chunk("first"), HANG), model="slow", always=True)
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "relay.toml")
            config.write_text(
                '[upstreams.builtin]\nurl = "builtin"\nmodels = ["m"]\n'
                f'[upstreams.slow]\nurl = "{upstream.url}"\nmodels = ["slow"]\n'
            )
            free = ("--listen", "127.0.0.1:0", "--log-level", "error")
            process = await start(*free, "--config", config)
            try:
                yield await listening(process)
            finally:
                await end(process)


async def run(name: str, address: str) -> Outcome:
    """Runs the runner of a language. It must be built."""
    language = LANGUAGES[name]
    command = [*language.command, VECTORS, address]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        async with asyncio.timeout(LONG_TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Outcome(failures=[f"the runner took more than {LONG_TIMEOUT} seconds"])
    cases = expected(language)
    if os.environ.get("CHATPB_CORPUS") and "json" in cases:
        cases["corpus"] = set()
    outcome = read_lines(output.decode("utf-8", "replace"), cases)
    if "corpus" in cases and not outcome.passed["corpus"]:
        outcome.failures.append("corpus\tno result, though there is a corpus")
    if process.returncode != bool(outcome.failures):
        outcome.failures.append(f"the runner ended with exit code {process.returncode}")
    outcome.failures += wrong_limits(outcome.limits, LIMITS.get(name, {}))
    return outcome


async def check(names: list[str], strict: bool) -> dict[str, Outcome]:
    """Builds and runs the languages of these names."""
    outcomes: dict[str, Outcome] = {}
    async with relay() as address:
        for name in names:
            language = LANGUAGES[name]
            missing = missing_tools(language)
            # In CI and as root, the build of C++ installs its Debian packages.
            can_install = name == "cpp" and os.geteuid() == 0 and shutil.which("apt-get")
            if missing and not (strict and can_install):
                reason = f"{' and '.join(missing)} not installed"
                failures = [f"every language must run, but {reason}"] if strict else []
                outcomes[name] = Outcome(skipped=reason, failures=failures)
                continue
            begin = time.monotonic()
            if not await asyncio.to_thread(build, name):
                outcomes[name] = Outcome(failures=["it cannot be built"])
                continue
            built = time.monotonic()
            outcomes[name] = await run(name, address)
            print(
                f"{language.title}: built in {built - begin:.0f} s,"
                f" run in {time.monotonic() - built:.1f} s",
                file=sys.stderr,
            )
    return outcomes


def write_docs(text: str) -> None:
    """Writes the table into the document, between the marks."""
    begin, finish = MARKS
    before, _, rest = DOCS.read_text().partition(begin)
    _, mark, after = rest.partition(finish)
    if not mark:
        sys.exit(f"{DOCS} lacks the marks {begin.strip()} and {finish}")
    DOCS.write_text(f"{before}{begin}\n{text}\n{finish}{after}")


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description="Runs the conformance runners.")
    parser.add_argument("language", nargs="*", help=f"of {', '.join(LANGUAGES)}; all by default")
    parser.add_argument("--docs", action="store_true", help="write the table into the document")
    parser.add_argument(
        "--strict",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="a missing toolchain is an error; the default if CI is set",
    )
    arguments = parser.parse_args()
    names = arguments.language or list(LANGUAGES)
    if unknown := set(names) - set(LANGUAGES):
        parser.error(f"unknown language {', '.join(sorted(unknown))}")
    outcomes = asyncio.run(check(names, arguments.strict))
    text = table({LANGUAGES[name].title: outcome for name, outcome in outcomes.items()})
    print(f"\n{text}")
    for name, outcome in outcomes.items():
        title = LANGUAGES[name].title
        if outcome.skipped and not outcome.failures:
            print(f"{title}: skipped, {outcome.skipped}")
        for failure in outcome.failures:
            print(f"{title}: {failure}")
    passed = sum(outcome.passed.total() for outcome in outcomes.values())
    failed = sum(len(outcome.failures) for outcome in outcomes.values())
    if arguments.docs and not failed and set(names) == set(LANGUAGES):
        if any(outcome.skipped for outcome in outcomes.values()):
            sys.exit("the document needs all languages")
        write_docs(text)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
