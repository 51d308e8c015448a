"""Builds and runs the conformance runners of all languages against one relay.

    python tests/polyglot/run.py                 # all languages that have a toolchain here
    python tests/polyglot/run.py go rust         # these two
    python tests/polyglot/run.py --docs          # and writes the table into docs/polyglot.md

What a runner is and what it prints is said in tests/vectors/README.md.
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
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.http_upstream import HANG, HttpUpstream, sse_answer
from support.relay_process import COMPLETION, end, listening, start

ROOT: Final = Path(__file__).parents[2]
VECTORS: Final = ROOT / "tests/vectors"
DOCS: Final = ROOT / "docs/polyglot.md"
BUILT: Final = ROOT / "build/polyglot"
MARKS: Final = ("<!-- begin: written by `make polyglot ARGS=--docs` -->\n", "<!-- end -->")
FIRST: Final = COMPLETION | {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "first"}, "finish_reason": None}],
}
TIMEOUT: Final = 300  # seconds of a runner
KINDS: Final = (
    "parse",
    "serialize",
    "reject",
    "textformat",
    "json_view",
    "json",
    "corpus",
    "relay",
)


@dataclass(frozen=True)
class Language:
    """A language: what it is called, what builds it, and how its runner starts."""

    title: str
    tools: tuple[str, ...]
    command: tuple[str | Path, ...]
    kinds: tuple[str, ...] = ()  # beside those that every language has


_JAVA: Final = BUILT / "java-target"
LANGUAGES: Final = {
    "go": Language("Go", ("go",), (BUILT / "go-runner",), ("textformat", "json_view", "json")),
    "java": Language(
        "Java",
        ("mvn", "javac"),
        ("java", "-cp", f"{_JAVA / 'classes'}:{_JAVA / 'lib'}/*", "chatpb.conformance.Main"),
        ("textformat", "json_view"),
    ),
    "typescript": Language(
        "TypeScript",
        ("node", "npm"),
        ("node", ROOT / "tests/polyglot/typescript/build/main.js"),
        ("json_view", "json"),
    ),
    "rust": Language("Rust", ("cargo",), (BUILT / "rust-target/debug/chatpb-conformance",)),
    "cpp": Language(
        "C++",
        ("g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
        (BUILT / "cpp-runner",),
        ("textformat", "json_view"),
    ),
}


@dataclass
class Outcome:
    """What came of a language.

    Attributes:
        passed: How many cases of each kind are ok.
        limits: The cases that the language's runtime cannot do, with the reason, by kind.
        failures: What went wrong, in lines.
        skipped: Why it was left out; empty if it was not.
    """

    passed: Counter[str] = field(default_factory=Counter)
    limits: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    def cell(self, kind: str, note: Callable[[str], int]) -> str:
        """The counts of a kind; `note` gives the number of the footnote of a limit."""
        limits = self.limits.get(kind, {})
        cell = str(self.passed[kind]) if self.passed[kind] or limits else "-"
        for reason, count in sorted(Counter(limits.values()).items()):
            cell += f" + {count} [{note(reason)}]"
        return cell


def expected(language: Language) -> dict[str, set[str]]:
    """The cases that a runner must report at least, by kind."""
    names = {vector["name"] for vector in json.loads((VECTORS / "manifest.json").read_text())}
    binary = json.loads((VECTORS / "binary/manifest.json").read_text())
    valid = {vector["name"] for vector in binary if not vector.get("invalid")}
    cases = {
        "parse": names | valid,
        "serialize": names | valid,
        "reject": {vector["name"] for vector in binary} - valid,
        "relay": {"unary", "stream", "cancel", "deadline", "error"},
    }
    return cases | dict.fromkeys(language.kinds, names)


def read_lines(text: str, cases: dict[str, set[str]]) -> Outcome:
    """What a runner has printed, and what it should have."""
    outcome = Outcome()
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        kind, _, rest = line.partition("\t")
        case, _, result = rest.partition("\t")
        if kind not in KINDS or not case or (kind, case) in seen:
            outcome.failures.append(f"not a result, or one more of the same case: {line}")
        elif result == "ok":
            outcome.passed[kind] += 1
        elif result.startswith("limit: "):
            outcome.limits.setdefault(kind, {})[case] = result.removeprefix("limit: ")
        else:
            outcome.failures.append(line)
        seen.add((kind, case))
    for kind, names in cases.items():
        missing = sorted(name for name in names if (kind, name) not in seen)
        if missing:
            outcome.failures.append(f"{kind}\tno result for {', '.join(missing)}")
    return outcome


def missing_tools(language: Language) -> list[str]:
    """The programs that building needs and that are not here."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"])
    return [tool for tool in language.tools if shutil.which(tool, path=path) is None]


def build(name: str) -> bool:
    """Generates and builds; whether that worked."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", f".build-{name}"]
    return subprocess.run(command, cwd=ROOT, env=environ, stdout=sys.stderr).returncode == 0


@asynccontextmanager
async def relay() -> AsyncIterator[str]:
    """The address of a relay that answers for model "m" at once and for "slow" never wholly."""
    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(FIRST, HANG), model="slow", always=True)
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


async def run(language: Language, address: str) -> Outcome:
    """Runs a runner that is built."""
    command = [*language.command, VECTORS, address]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Outcome(failures=[f"the runner took more than {TIMEOUT} seconds"])
    cases = expected(language)
    if os.environ.get("CHATPB_CORPUS") and "json" in cases:
        cases["corpus"] = set()
    outcome = read_lines(output.decode("utf-8", "replace"), cases)
    if "corpus" in cases and not outcome.passed["corpus"]:
        outcome.failures.append("corpus\tno result, though there is a corpus")
    if process.returncode != bool(outcome.failures):
        outcome.failures.append(f"the runner ended with exit code {process.returncode}")
    return outcome


async def check(names: list[str], strict: bool) -> dict[str, Outcome]:
    """Builds and runs the languages of these names."""
    outcomes: dict[str, Outcome] = {}
    async with relay() as address:
        for name in names:
            language = LANGUAGES[name]
            missing = missing_tools(language)
            # With Debian, what C++ needs is installed when it is built, for root and in CI.
            can_install = name == "cpp" and os.geteuid() == 0 and shutil.which("apt-get")
            if missing and not (strict and can_install):
                reason = f"there is no {' and no '.join(missing)} here"
                failures = [f"left out, but everything must run: {reason}"] if strict else []
                outcomes[name] = Outcome(skipped=reason, failures=failures)
                continue
            begin = time.monotonic()
            if not await asyncio.to_thread(build, name):
                outcomes[name] = Outcome(failures=["it cannot be built"])
                continue
            built = time.monotonic()
            outcomes[name] = await run(language, address)
            print(
                f"{language.title}: built in {built - begin:.0f} s,"
                f" run in {time.monotonic() - built:.1f} s",
                file=sys.stderr,
            )
    return outcomes


def table(outcomes: dict[str, Outcome]) -> str:
    """The counts by language and kind, with what cannot be done below."""
    reasons: dict[str, int] = {}
    rows = [
        f"| | {' | '.join(KINDS)} |",
        f"|---|{'--:|' * len(KINDS)}",
    ]
    for name, outcome in outcomes.items():
        if outcome.skipped:
            cells = ["left out"] * len(KINDS)
        else:
            cells = [
                outcome.cell(kind, lambda reason: reasons.setdefault(reason, len(reasons) + 1))
                for kind in KINDS
            ]
        rows.append(f"| {LANGUAGES[name].title} | {' | '.join(cells)} |")
    notes = [f"[{number}] {reason}" for reason, number in reasons.items()]
    return "\n".join(rows) + "\n" + "".join(f"\n{note}\n" for note in notes)


def write_docs(text: str) -> None:
    """Puts the table into the document, between the marks."""
    begin, finish = MARKS
    before, _, rest = DOCS.read_text().partition(begin)
    _, mark, after = rest.partition(finish)
    if not mark:
        sys.exit(f"{DOCS} lacks the marks {begin.strip()} and {finish}")
    DOCS.write_text(f"{before}{begin}\n{text}\n{finish}{after}")


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description="Runs the conformance runners.")
    parser.add_argument("language", nargs="*", help=f"of {', '.join(LANGUAGES)}; all by default")
    parser.add_argument("--docs", action="store_true", help="write the table into the document")
    parser.add_argument(
        "--strict",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="a missing toolchain is an error, as it is where CI is set",
    )
    arguments = parser.parse_args()
    names = arguments.language or list(LANGUAGES)
    if unknown := set(names) - set(LANGUAGES):
        parser.error(f"there is no language {', '.join(sorted(unknown))}")
    outcomes = asyncio.run(check(names, arguments.strict))
    text = table(outcomes)
    print(f"\n{text}")
    for name, outcome in outcomes.items():
        title = LANGUAGES[name].title
        if outcome.skipped and not outcome.failures:
            print(f"{title}: left out, {outcome.skipped}")
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
