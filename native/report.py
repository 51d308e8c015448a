"""Prints which implementation of the mapping is in use; if it is the pure one, why, and the cost.

`make setup` and `make demo` run it in the environment that has chatpb. setup.py leaves the reason
of a missing extension in build/native.log; the times are those that `make bench` put in
docs/benchmarks.md.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "build/native.log"
LAST_LINES = 20


def main() -> None:
    """Prints the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from chatpb import implementation
    built = _last_build()
    if implementation == "native":
        print("chatpb uses its native implementation")
        if built:
            print(f"  an earlier build of it: at the last one, {built}")
        return
    if os.environ.get("CHATPB_IMPLEMENTATION") == "python":
        reason = "CHATPB_IMPLEMENTATION=python selects it"
    else:
        reasons = [str(warning.message) for warning in caught]
        if built:
            reasons.append(f"the last build: {built}" if caught else built)
        missing = "the native extension is not installed; reinstall chatpb with cargo"
        reason = "\n  ".join(reasons) or missing
    print(f"chatpb uses its pure Python implementation: {reason}")
    print(f"  It gives the same results, but is slower.{_cost()}")


def _last_build() -> str:
    """Why the last build gave no extension; empty if it did, or if there was none here."""
    lines = LOG.read_text().splitlines() if LOG.exists() else []
    return "\n    ".join(lines[:1] + lines[1:][-LAST_LINES:])


def _cost() -> str:
    """What the table of targets in docs/benchmarks.md says of both implementations."""
    page = (ROOT / "docs/benchmarks.md").read_text()
    costs = []
    for verb, row in (
        ("reading", "json_to_binary / orjson.loads"),
        ("writing", "binary_to_json / orjson.dumps"),
    ):
        times = re.search(rf"^\| 500x20: {row} \|[^|]*\| ([\d.]+) \| ([\d.]+) \|", page, re.M)
        if times:
            costs.append(f"{verb} JSON takes {times[2]} times as long as orjson, not {times[1]}")
    return f" By docs/benchmarks.md, {', and '.join(costs)}." if costs else ""


if __name__ == "__main__":
    main()
