"""Asks the registries whether the names of the packages are free; lists texts that use them.

    python -m release.names

Nobody should be told to install from a registry what is not ours there: whoever takes the name
first could give them anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from release.steps import ROOT, tracked


@dataclass(frozen=True)
class Name:
    """A name in a registry.

    Attributes:
        registry: which one.
        name: what the package is called there.
        command: asks the registry; succeeds if there is such a package.
        absent: a pattern of what the command prints if there is none.
        installs: a pattern of what tells a user to install the package from the registry.
    """

    registry: str
    name: str
    command: Sequence[str]
    absent: str
    installs: str


_MAVEN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"
NAMES: Final = [
    Name(
        "PyPI",
        "chatpb",
        ["python3", "-m", "pip", "index", "versions", "chatpb"],
        "No matching distribution",
        r"pip install '?chatpb|uv add '?chatpb",
    ),
    Name(
        "crates.io",
        "chatpb",
        ["cargo", "info", "--registry", "crates-io", "chatpb"],
        "could not find",
        r"cargo add chatpb\b(?! --path)",
    ),
    Name(
        "npm",
        "chatpb",
        ["npm", "view", "chatpb", "version"],
        "E404",
        r"npm (?:install|i|add) (?:--\S+ )*chatpb\b",
    ),
    Name(
        "Maven Central",
        "io.github.chatpb:chatpb",
        # What was installed on this machine is not what the registry has.
        [
            "mvn",
            "-B",
            "-Dmaven.repo.local=repository",
            _MAVEN,
            "-Dartifact=io.github.chatpb:chatpb:RELEASE:pom",
        ],
        "Could not find artifact|No versions available|Couldn't download|Failed to resolve version",
        r"<groupId>io\.github\.chatpb</groupId>",
    ),
    Name(
        "Go",
        "github.com/chatpb/chatpb-go",
        ["go", "list", "-m", "-versions", "github.com/chatpb/chatpb-go"],
        "not found|404|410|no matching versions|unrecognized import path",
        r"go get github\.com/chatpb/chatpb-go",
    ),
]
#: Where users read how to install what.
TEXTS: Final = ["README.md", "docs", "deploy", "examples", "chatpb", "server", "polyglot", "native"]


def state(name: Name) -> str:
    """Returns "free", "taken: ..." or "unknown: ..."."""
    program = shutil.which(name.command[0]) or f"/usr/local/go/bin/{name.command[0]}"
    if not shutil.which(program):
        return f"unknown: {name.command[0]} is not installed"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program, *name.command[1:]],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode == 0:
        return f"taken: {done.stdout.strip().splitlines()[0]}"
    if re.search(name.absent, done.stdout):
        return "free"
    return f"unknown: {done.stdout.strip().splitlines()[-1].strip()}"


def uses(name: Name) -> list[str]:
    """Returns the places that tell a user to install the package from the registry."""
    found = []
    for path in tracked(*TEXTS):
        try:
            lines = (ROOT / path).read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path}:{number}"
            for number, line in enumerate(lines, 1)
            if re.search(name.installs, line)
        ]
    return found


def main() -> None:
    """Prints the state of each name, and the places that use it."""
    for name in NAMES:
        print(f"{name.registry} {name.name}: {state(name)}", flush=True)
        for place in uses(name):
            print(f"  {place}")


if __name__ == "__main__":
    main()
