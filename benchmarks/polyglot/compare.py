"""Compare, in every language, OpenAI's JSON to a message and back with its common JSON parser.

Each language has a program in benchmarks/polyglot, which make builds. It is run with the paths of
JSON files and prints a line for each file, operation and peer, tab-separated: the file's name
without its ending, the operation, the peer, and the least nanoseconds of ours and of the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from common.documents import SENTENCE, completion, logprobs, shortest, text
from common.marks import Marks
from common.report import show
from common.tables import Table, number

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ROOT / "build/polyglot"
OUTPUT: Final = ROOT / "build/bench-polyglot.json"
DOCS: Final = ROOT / "docs/polyglot.md"
TITLES: Final = {
    "rust": "Rust",
    "cpp": "C++",
    "java": "Java",
    "typescript": "TypeScript",
    "go": "Go",
}
#: The most of our time over the peer's, for a large text.
LIMITS: Final = {"rust": 0.6, "cpp": 0.6, "java": 2.0, "typescript": 3.0, "go": 2.0}
SMALL: Final = "small"
LARGE: Final = "alternatives"
MARKS: Final = Marks("make bench-polyglot ARGS=--docs")
EXAMPLES: Final = """\
examples:
  python -m polyglot.compare                  all languages
  python -m polyglot.compare go rust          these two
  python -m polyglot.compare --docs           and write the table into docs/polyglot.md
"""


@dataclass(frozen=True)
class Measured:
    """What a program printed for one file, operation and peer; times are in nanoseconds."""

    language: str
    file: str
    operation: str
    peer: str
    ours: float
    peers: float

    @property
    def ratio(self) -> float:
        """Our time over the peer's."""
        return self.ours / self.peers


def main() -> int:
    """Measures, prints and writes what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("language", nargs="*", help=f"of {', '.join(TITLES)}; all by default")
    parser.add_argument("--seconds", type=float, default=1.0, help="the time for each figure")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON of what was found")
    parser.add_argument("--docs", action="store_true", help="write the table into the document")
    args = parser.parse_args()
    if unknown := set(args.language) - set(TITLES):
        parser.error(f"unknown language {', '.join(sorted(unknown))}")
    found: list[Measured] = []
    with TemporaryDirectory() as folder:
        files = inputs(Path(folder))
        for name in args.language or TITLES:
            found += measure(name, files, args.seconds)
    show([*tables(found)])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    if args.docs:
        DOCS.write_text(MARKS.fill(DOCS.read_text(), [markdown(found)]))
    return 0


def inputs(folder: Path) -> list[Path]:
    """Writes the files that every program measures."""
    texts = {SMALL: text(completion(SENTENCE)), LARGE: logprobs(500, 20, shortest)}
    files = [folder / f"{name}.json" for name in texts]
    for file, content in zip(files, texts.values(), strict=True):
        file.write_bytes(content)
    return files


def measure(language: str, files: list[Path], seconds: float) -> list[Measured]:
    """Builds and runs the program of a language."""
    # What make tells its children would reach this make too.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    target = ["make", "--no-print-directory", f".bench-{language}"]
    subprocess.run(target, cwd=ROOT, env=environ, stdout=sys.stderr, check=True)
    command: list[str | Path] = [BUILT / f"bench-{language}", "--seconds", str(seconds), *files]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = []
    for line in output.splitlines():
        file, operation, peer, ours, peers = line.split("\t")
        found.append(Measured(language, file, operation, peer, float(ours), float(peers)))
    return found


def tables(found: list[Measured]) -> list[Table]:
    """A table for each file, with our times, the peers', the ratios, and what was to be reached."""
    header = ["", "ours\nus", "peer\nus", "ratio", "to reach", "peer"]
    made = []
    for file in dict.fromkeys(one.file for one in found):
        rows = [
            [
                f"{TITLES[one.language]} {one.operation}",
                number(one.ours / 1e3),
                number(one.peers / 1e3),
                number(one.ratio),
                number(LIMITS[one.language]) if file == LARGE else "",
                one.peer,
            ]
            for one in found
            if one.file == file
        ]
        made.append(Table(file, header, rows))
    return made


def markdown(found: list[Measured]) -> str:
    """The ratios as a table for the document."""
    lines = ["| | operation | peer | small | 500 x 20 |", "|---|---|---|--:|--:|"]
    ratios = {(one.language, one.operation, one.peer, one.file): one.ratio for one in found}
    for key in dict.fromkeys((one.language, one.operation, one.peer) for one in found):
        small, large = (number(ratios.get((*key, file))) for file in (SMALL, LARGE))
        lines.append(f"| {TITLES[key[0]]} | `{key[1]}` | {key[2]} | {small} | {large} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
