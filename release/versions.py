"""The version of all packages is that of pyproject.toml; the other files repeat it.

`python -m release.versions` checks that they agree; with `--set 0.2.0` it sets all of them.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
#: A version without the extras of semantic versions, which the registries spell differently.
VERSION: Final = re.compile(r"\d+\.\d+\.\d+")
_COORDINATES: Final = r"<groupId>io\.github\.chatpb</groupId>\s*<artifactId>[^<]*</artifactId>\s*"
#: Files and, in each, the places of the version: patterns with three groups, the second of which is
#: the version. A file that is not there has none.
PLACES: Final = [
    ("pyproject.toml", r'(?m)(^\[project\]\nname = "chatpb"\nversion = ")([^"]+)(")'),
    ("uv.lock", r'(\[\[package\]\]\nname = "chatpb"\nversion = ")([^"]+)(")'),
    ("native/**/Cargo.toml", r'(?ms)(\A\[package\]\n(?:(?!^\[).)*?^version = ")([^"]+)(")'),
    ("native/**/Cargo.toml", r'(?m)(^chatpb = \{[^}\n]*version = "=?)([^"]+)(")'),
    ("**/Cargo.lock", r'(\nname = "chatpb(?:-native|-abi)?"\nversion = ")([^"]+)("\n(?!source))'),
    ("polyglot/typescript/package.json", r'(\A\{\n  "name": "chatpb",\n  "version": ")([^"]+)(")'),
    ("polyglot/typescript/package-lock.json", r'("name": "chatpb",\n +"version": ")([^"]+)(")'),
    ("polyglot/java/**/pom.xml", rf"({_COORDINATES}<version>)([^<$]+)(<)"),
    ("tests/polyglot/java/pom.xml", rf"({_COORDINATES}<version>)([^<$]+)(<)"),
    ("benchmarks/polyglot/java/pom.xml", rf"({_COORDINATES}<version>)([^<$]+)(<)"),
    ("docs/**/*.md", rf"({_COORDINATES}<version>)([^<$]+)(<)"),
    ("deploy/**/*", r"(\bchatpb-server:)(\d+\.\d+\.\d+)()"),
    ("examples/kubernetes/*.yaml", r"(\bchatpb-server, newTag: )(\d+\.\d+\.\d+)()"),
    ("examples/kubernetes/*.yaml", r"(\?ref=v)(\d+\.\d+\.\d+)()"),
    ("polyglot/cpp/**/CMakeLists.txt", r"(project\(\s*chatpb\s[^)]*?VERSION )([\d.]+)()"),
    ("polyglot/cpp/**/*.cmake*", r'(set\(PACKAGE_VERSION "?)([\d.]+)("?\))'),
    ("polyglot/cpp/**/*.pc*", r"(?m)(^Version: )([\d.]+)($)"),
    ("polyglot/cpp/include/*.h", r'(#define CHATPB_VERSION ")([^"]+)(")'),
]
NOT_OURS: Final = {"node_modules", "target", "build", "dist", "fuzz"}


def version() -> str:
    """Returns the version of all packages."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return str(found)


def disagreements() -> list[str]:
    """Returns a line for each place with another version; also for the newest of the changelog."""
    expected = version()
    found = [
        (path, match[2])
        for path, pattern in _files()
        for match in re.finditer(pattern, path.read_text("utf-8"))
    ]
    released = re.search(r"(?m)^## \[(\d[^\]]*)\]", _changelog().read_text("utf-8"))
    if released:
        found.append((_changelog(), released[1]))
    return [
        f"{path.relative_to(ROOT)}: {other}, not {expected}"
        for path, other in found
        if other != expected
    ]


def set_all(new: str) -> None:
    """Sets the version, and makes what is unreleased in the changelog that of the version."""
    for path, pattern in _files():
        before = path.read_text("utf-8")
        after = re.sub(pattern, rf"\g<1>{new}\g<3>", before)
        if after != before:
            path.write_text(after, "utf-8")
    today = datetime.now(UTC).date()
    text = _changelog().read_text("utf-8")
    if f"## [{new}]" not in text:
        head = f"## [Unreleased]\n\n## [{new}] - {today}\n"
        _changelog().write_text(text.replace("## [Unreleased]\n", head, 1), "utf-8")


def _changelog() -> Path:
    return ROOT / "CHANGELOG.md"


def _files() -> Iterator[tuple[Path, str]]:
    for name, pattern in PLACES:
        for path in sorted(ROOT.glob(name)):
            if path.is_file() and not any(
                part in NOT_OURS or part.startswith(".")
                for part in path.relative_to(ROOT).parts[:-1]
            ):
                yield path, pattern


def main() -> None:
    """Checks or sets the version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", metavar="VERSION", help="such as 0.2.0")
    parser.add_argument(
        "--tag", metavar="TAG", help="check that a tag, such as v0.2.0, is of this version"
    )
    arguments = parser.parse_args()
    if arguments.set:
        if not VERSION.fullmatch(arguments.set):
            sys.exit(f"not a version such as 0.2.0: {arguments.set!r}")
        set_all(arguments.set)
    problems = disagreements()
    if arguments.tag:
        if arguments.tag != f"v{version()}":
            problems.append(f"the tag {arguments.tag} is not v{version()}")
        if f"## [{version()}]" not in _changelog().read_text("utf-8"):
            problems.append(f"CHANGELOG.md has no heading for {version()}")
    if problems:
        sys.exit("\n".join(problems))
    print(version())


if __name__ == "__main__":
    main()
