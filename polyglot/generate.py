"""Generates stubs with `buf generate`, for the languages that are asked for only.

    python polyglot/generate.py go java        # those that buf.gen.yaml has for these two
    python polyglot/generate.py go --output build/drift

The language of a plugin is the folder below `polyglot` that it writes to; `native` is Rust.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
BUF = Path(sys.executable).with_name("buf")


def language(out: str) -> str:
    """The language whose stubs go to a folder."""
    parts = Path(out).parts
    if parts[0] == "native":
        return "rust"
    return parts[parts.index("polyglot") + 1]


def main() -> None:
    """Generates what the command line says."""
    template = yaml.safe_load((ROOT / "buf.gen.yaml").read_text())
    known = sorted({language(plugin["out"]) for plugin in template["plugins"]})
    parser = argparse.ArgumentParser(description="Generates stubs for the languages named.")
    parser.add_argument("language", nargs="+", choices=known)
    parser.add_argument("--output", default=".", help="the folder that stands for this repository")
    arguments = parser.parse_args()
    template["plugins"] = [
        plugin for plugin in template["plugins"] if language(plugin["out"]) in arguments.language
    ]
    command = [BUF, "generate", "--template", json.dumps(template), "--output", arguments.output]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
