"""Count the instructions of operations, which no other load on the machine changes.

The counts are compared with benchmarks/instructions/counts.json, if that was counted with the same
versions on the same kind of machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from common.report import show
from common.tables import Table
from instructions.count import Counted, CountError, counted, environment
from instructions.operations import is_peer, peer_of
from instructions.record import RECORD, ROOT, Record, grown, released, renewed, uncounted, words

EXAMPLES: Final = """\
examples:
  make bench-instructions
  make bench-instructions ARGS="--only small:to_json"
  make bench-instructions ARGS="--only 'chunk:*' --functions 20"   where they are spent
  make bench-instructions ARGS=--check     exit code 1 if one has grown by more than 10 %
  make bench-instructions ARGS=--record    renew the record

An operation may grow if CHANGELOG.md says so under "Unreleased"; --check prints the words.
"""


def main() -> int:
    """Counts, prints, and checks or records; returns the exit code."""
    args = _arguments()
    with counted(args.only) as found:
        if not found:
            raise CountError(f"no operation is called {' or '.join(args.only)}")
        counts = {name: each.instructions for name, each in found.items()}
        now = Record(environment(), {k: v for k, v in counts.items() if not is_peer(k)})
        record = Record.read(RECORD.read_text()) if RECORD.exists() else None
        differs = _differs(now, record)
        show([_table(counts, {} if differs or not record else record.instructions)])
        for name, each in found.items() if args.functions else ():
            print(_functions(name, each, args.functions))
    print(f"{'; '.join(filter(None, now.environment.values()))}. {differs}".strip())
    if differs or not record:
        failures = []
        if args.record:
            RECORD.write_text(now.text())
    else:
        failures = _judge(now, record, record_it=args.record)
        if not args.only and not args.record:
            failures += uncounted(now.instructions, record.instructions)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures and (args.check or args.record) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="count these alone: names as in the table, or patterns such as 'small:*'",
    )
    parser.add_argument(
        "--functions",
        type=int,
        metavar="N",
        help="also print the N functions that take the most instructions",
    )
    parser.add_argument("--check", action="store_true", help="fail if an operation has grown")
    parser.add_argument("--record", action="store_true", help="renew the record")
    args = parser.parse_args()
    if args.only and args.record:
        parser.error("--record takes all operations, without --only")
    return args


def _differs(now: Record, record: Record | None) -> str:
    """Why the counts cannot be compared; nothing if they can."""
    if record is None or record.environment == now.environment:
        return ""
    recorded = "; ".join(filter(None, record.environment.values()))
    return f"Not compared with the record, which was made with {recorded}."


def _judge(now: Record, record: Record, *, record_it: bool) -> list[str]:
    said = words((ROOT / "CHANGELOG.md").read_text("utf-8"))
    failures = [*grown(now.instructions, record.instructions, said)]
    if record_it:
        failures = [each for each in failures if "not on record" not in each]
        if not failures:
            record = Record(now.environment, renewed(now.instructions, record.instructions, said))
            RECORD.write_text(record.text())
    # The record itself must not have grown without a word since the last release.
    base = released()
    if base and base.environment == record.environment:
        shared = record.instructions.keys() & base.instructions.keys()
        kept = {name: record.instructions[name] for name in sorted(shared)}
        failures += [f"counts.json: {each}" for each in grown(kept, base.instructions, said)]
    return failures


def _table(counts: Mapping[str, int], recorded: Mapping[str, int]) -> Table:
    header = ["", "now", "on record", "now / record", "now / orjson's", ""]
    table = Table("Instructions of one operation", header)
    for name, count in counts.items():
        before, peer = recorded.get(name), counts.get(peer_of(name))
        cells = [f"{before:,}", f"{count / before:.3f}"] if before else ["-", "-"]
        table.rows.append([name, f"{count:,}", *cells, f"{count / peer:.2f}" if peer else "-", ""])
    return table


def _functions(name: str, found: Counted, limit: int) -> str:
    command = ["callgrind_annotate", str(found.dump)]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = text.partition("file:function\n")[2].splitlines()
    return "\n".join([f"{name}, functions that took the most:", *lines[1 : limit + 1], ""])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CountError as error:
        sys.exit(f"error: {error}")
