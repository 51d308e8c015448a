"""Compares the implementations in other languages with the reference on mutated inputs.

    python -m polyglot.fuzz --count 100000 --seed 1          # all languages whose runner is built
    python -m polyglot.fuzz --count 100000 go typescript     # these two

tests/vectors/README.md specifies the inputs and the results. Differences are printed, the first of
each language as small as deleting makes it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from chatpb import ConversionError, binary_to_json, fold, from_json, json_to_binary, unfold
from chatpb._mapping.canonical import canonical
from chatpb._stream.compact import Restorer
from chatpb.v1 import ChatCompletionChunk, StreamChatCompletionResponse
from polyglot.fuzz_inputs import Input, inputs, without_parts
from polyglot.run import LANGUAGES, build, missing_tools
from support.golden_files import message_class
from support.stream_vectors import compacted, decoded, pieces_of

OK: Final = "ok"
REFUSED: Final = "refused"
#: What a runner prints for what its language does not have.
NONE: Final = "none"
_SHOWN: Final = 5
_LONG: Final = 3000
_BATCH: Final = 20_000
_MOST_CANDIDATES: Final = 20_000
_SECONDS: Final = 30.0  # for making an input smaller


def reference(given: Input) -> str:
    """What the reference gives for an input, as a runner prints it."""
    return "\t".join(_ANSWERS[given.name](*given.arguments))


def _read(name: str, text: bytes) -> list[str]:
    try:
        return [OK, json_to_binary(text, message_class(name)).hex()]
    except ConversionError as error:
        return [REFUSED, error.path.encode("utf-8", "surrogatepass").hex(), str(error.offset)]


def _write(name: str, data: bytes) -> list[str]:
    try:
        text = binary_to_json(data, message_class(name))
    except ConversionError:
        return [REFUSED]
    return [OK, json_to_binary(text, message_class(name)).hex()]


def _fold(*texts: bytes) -> list[str]:
    try:
        completion = fold(from_json(text, ChatCompletionChunk) for text in texts)
    except ConversionError:
        return [REFUSED]
    return [OK, canonical(completion).hex()]


def _unfold(text: bytes) -> list[str]:
    try:
        return [OK, *(canonical(chunk).hex() for chunk in unfold(from_json(text)))]
    except ConversionError:
        return [REFUSED]


def _restore(*responses: bytes) -> list[str]:
    restorer = Restorer()
    chunks: list[str] = []
    try:
        for data in responses:
            response = StreamChatCompletionResponse.FromString(data)
            chunks.extend(canonical(chunk).hex() for chunk in restorer.add(response))
    except (ValueError, DecodeError):
        return [REFUSED, *chunks]
    return [OK, *chunks]


def _compact(*texts: bytes) -> list[str]:
    try:
        chunks = [from_json(text, ChatCompletionChunk) for text in texts]
    except ConversionError:
        return [REFUSED]
    return [OK, *(response.hex() for response in compacted(chunks))]


def _sse(most: str, size: str, data: bytes) -> list[str]:
    found = decoded(pieces_of(data, int(size)), int(most))
    flags = f"{found['is_done']:d}{found['is_error_of_choice']:d}"
    result = [OK] if found["reason"] is None else [REFUSED]
    error = "-" if found["error"] is None else found["error"]
    return [*result, flags, error, *found["chunks"]]


_ANSWERS: Final[dict[str, Callable[..., list[str]]]] = {
    "read": _read,
    "write": _write,
    "fold": _fold,
    "unfold": _unfold,
    "restore": _restore,
    "compact": _compact,
    "sse": _sse,
}


def results(command: Sequence[str | Path], given: Iterable[Input]) -> list[str]:
    """What a runner gives for inputs.

    Raises:
        AssertionError: It failed, or has not a result for each input.
    """
    lines = [each.line for each in given]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        ended = subprocess.run([*command, "--fuzz", file.name], stdout=subprocess.PIPE, check=False)
    found = ended.stdout.decode("utf-8", "replace").splitlines()
    if ended.returncode or len(found) != len(lines):
        at = f" at {lines[len(found)][:2000]}" if len(found) < len(lines) else ""
        raise AssertionError(f"exit code {ended.returncode}, {len(found)} results{at}")
    return found


def differs(expected: str, found: str) -> bool:
    """Whether a result is another one than that of the reference."""
    return found not in (expected, NONE)


def smaller(command: Sequence[str | Path], given: Input) -> Input:
    """The input without the parts that the results differ without, as far as deleting goes."""
    size = max((len(part) for part in given.arguments), default=1)
    end = time.monotonic() + _SECONDS
    while size and time.monotonic() < end:
        candidates = list(without_parts(given, size))[:_MOST_CANDIDATES]
        found = results(command, candidates) if candidates else []
        better = (
            each
            for each, result in zip(candidates, found, strict=True)
            if differs(reference(each), result)
        )
        if (next_one := next(better, None)) is not None:
            given = next_one
        else:
            size //= 2
    return given


def shown(given: Input, expected: str, found: str) -> str:
    """A difference, for people."""
    parts = [repr(part)[:_LONG] for part in given.arguments]
    texts = (
        f"{given.name} {' '.join(parts)}",
        f"reference {expected[:_LONG]}",
        f"found {found[:_LONG]}",
    )
    return "\n  ".join(texts)


def compare(
    commands: dict[str, Sequence[str | Path]], count: int, seed: int, seconds: float = 1e9
) -> list[str]:
    """Compares the languages of these commands on that many inputs, and gives the differences."""
    reports: list[str] = []
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for first in range(0, count, _BATCH):
        given = list(inputs(min(_BATCH, count - first), seed + first // _BATCH))
        expected = [reference(each) for each in given]
        for each, result in zip(given, expected, strict=True):
            counts[f"{each.name} {result.partition(chr(9))[0]}"] += 1
        for name, command in commands.items():
            try:
                found = results(command, given)
            except AssertionError as error:
                reports.append(f"{name}: {str(error)[:_LONG]}")
                continue
            for each, wanted, result in zip(given, expected, found, strict=True):
                if not differs(wanted, result):
                    continue
                differing[name] += 1
                if differing[name] == 1:
                    small = smaller(command, each)
                    (again,) = results(command, [small])
                    reports.append(f"{name}: {shown(small, reference(small), again)}")
                elif differing[name] <= _SHOWN:
                    reports.append(f"{name}: {shown(each, wanted, result)}")
        if time.monotonic() > end:
            break
    print(", ".join(f"{number} {name}" for name, number in sorted(counts.items())))
    return reports + [f"{name}: {number} differences" for name, number in differing.items()]


def _unready(name: str, builds: bool) -> str:
    """Why a language cannot take part, or ""."""
    language = LANGUAGES[name]
    if missing := missing_tools(language):
        return f"{' and '.join(missing)} not installed"
    if builds and not build(name):
        sys.exit(f"{language.title} cannot be built")
    paths = [part for part in language.command if isinstance(part, Path)]
    return "" if all(path.exists() for path in paths) else "its runner is not built"


def main() -> None:
    """Runs the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description="Compares languages on mutated inputs.")
    parser.add_argument("language", nargs="*", help=f"of {', '.join(LANGUAGES)}; all by default")
    parser.add_argument("--count", type=int, default=20_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--build", action="store_true", help="build the runners first")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="MAX")
    arguments = parser.parse_args()
    names = arguments.language or [name for name in LANGUAGES if LANGUAGES[name].fuzzes]
    if unknown := set(names) - set(LANGUAGES):
        parser.error(f"unknown language {', '.join(sorted(unknown))}")
    commands: dict[str, Sequence[str | Path]] = {}
    for name in names:
        if why_not := _unready(name, arguments.build):
            print(f"{LANGUAGES[name].title}: left out, {why_not}")
        else:
            commands[name] = LANGUAGES[name].command
    start = time.monotonic()
    reports = compare(commands, arguments.count, arguments.seed, arguments.seconds)
    print(f"{', '.join(commands)}: {time.monotonic() - start:.1f} s")
    sys.exit("\n".join(reports) if reports else 0)


if __name__ == "__main__":
    main()
