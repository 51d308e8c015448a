"""Writes what the fuzz targets start from; run in the root of the repository.

That is each vector, behind the byte that picks its message type, and a dictionary of tokens. The
seeds of a target are listed in a file: the order of a folder differs between machines, and with it
what a run finds.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

CORPUS = Path("native/fuzz/corpus")
VECTORS = Path("tests/vectors")
TOKENS = [
    "NaN",
    "-Infinity",
    "null",
    "true",
    "[]",
    "{}",
    "-0",
    "1e2",
    "1e400",
    r"\u0041",
    r"\ud800",
    r"\ud83d\ude00",
]
NUMBERS = [2**53 + 1, 2**127 - 1, 2**128]


def main() -> None:
    """Writes the corpus anew, so that a run depends on nothing local."""
    shutil.rmtree(CORPUS, ignore_errors=True)
    protos = "".join(path.read_text() for path in Path("proto/chatpb/v1").glob("*.proto"))
    messages = re.findall(r"^message (\w+) \{(.*?)^\}", protos, re.MULTILINE | re.DOTALL)
    types = sorted(f"chatpb.v1.{name}" for name, body in messages if " Residue residue = " in body)
    for folder in (VECTORS, VECTORS / "invalid"):
        for vector in json.loads((folder / "manifest.json").read_bytes()):
            for target, ending in (("json", "json"), ("binary", "binpb")):
                path = folder / f"{vector['name']}.{ending}"
                if path.exists():
                    (CORPUS / target).mkdir(parents=True, exist_ok=True)
                    first = bytes([types.index(vector["message_type"])])
                    seed = CORPUS / target / f"{folder.name}-{path.name}"
                    seed.write_bytes(first + path.read_bytes())
    for target in ("json", "binary"):
        seeds = sorted(path.as_posix() for path in (CORPUS / target).iterdir())
        (CORPUS / f"{target}.list").write_text(",".join(seeds))
        (CORPUS / f"{target}-found").mkdir()
    names = sorted(set(re.findall(r" ([a-z]\w*) = ", protos)))
    tokens = [*(f'"{name}":' for name in names), *TOKENS, *map(str, NUMBERS)]
    (CORPUS / "tokens.dict").write_text("".join(json.dumps(token) + "\n" for token in tokens))


if __name__ == "__main__":
    main()
