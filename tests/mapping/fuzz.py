"""Compares the native implementation with the reference on mutated inputs.

The law: both give the same bytes or the same error, with and without ``allow_nan`` and
``ignore_unknown_fields``. Run it as
``python -m mapping.fuzz --count 1000000 --seed 1``. A difference is printed, as small as deleting
makes it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message

import chatpb._mapping.convert
import chatpb._mapping.fault
import chatpb._mapping.text
from chatpb import ConversionError, binary_to_json, json_to_binary
from chatpb._mapping.fault import find_error
from chatpb._mapping.native import native_type, transcoder
from chatpb._mapping.residue import walk
from chatpb._mapping.schema import mapping_of
from mapping.mutate_binary import BinaryMutator, Nodes, below_of, decode
from mapping.mutate_json import JsonMutator, Text
from support.golden_files import VECTORS, message_class, vectors
from support.strategies import MIRRORS

JSON: Final = "json"
BINARY: Final = "binary"

_LONG: Final = 1 << 16
_DETAIL: Final = re.compile(
    r"-?\d+|(?<=got ).*|\S+(?= is set)|(?<=byte ).*|(?<=of )(?:a )?chatpb.*"
)


class Case(NamedTuple):
    """An input: its form, the type of the message, and the text or the bytes."""

    form: str
    kind: type[Message]
    data: bytes


class _OnlyReference:
    """Takes the native implementation from the public functions for a while."""

    _MODULES: Final = (chatpb._mapping.convert, chatpb._mapping.fault, chatpb._mapping.text)

    def __enter__(self) -> None:
        for module in self._MODULES:
            vars(module)["transcoder"] = None

    def __exit__(self, *_: object) -> None:
        for module in self._MODULES:
            vars(module)["transcoder"] = transcoder


_only_reference: Final = _OnlyReference()


@dataclass
class Tally:
    """What came of the inputs."""

    same: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many inputs there were."""
        return self.same + self.refused

    def __str__(self) -> str:
        lines = [f"{self.total} cases: {self.same} the same, {self.refused} refused alike"]
        lines.extend(f"  {count:8} {reason}" for reason, count in self.reasons.most_common())
        return "\n".join(lines)


class Options(NamedTuple):
    """How an input is converted."""

    allow_nan: bool = False
    ignore_unknown_fields: bool = False


_ALL_OPTIONS: Final = {
    JSON: (Options(), Options(allow_nan=True)),
    BINARY: (Options(), Options(allow_nan=True), Options(ignore_unknown_fields=True)),
}


def native(case: Case, options: Options = _ALL_OPTIONS[JSON][0]) -> bytes | ConversionError:
    """What the native implementation gives."""
    assert transcoder is not None
    number = native_type(case.kind)
    assert number is not None
    if case.form == BINARY:
        given = transcoder.binary_to_json(case.data, number, *options)
    else:
        given = transcoder.json_to_binary(case.data, number, options.allow_nan)
    assert given is not None, f"a bug panicked: {case}"
    return given if isinstance(given, bytes) else ConversionError(*given)


def reference(case: Case, options: Options = _ALL_OPTIONS[JSON][0]) -> bytes | ConversionError:
    """What the reference gives."""
    with _only_reference:
        try:
            if case.form == JSON:
                return json_to_binary(case.data, case.kind, allow_nan=options.allow_nan)
            return binary_to_json(case.data, case.kind, **options._asdict())
        except ConversionError as error:
            return error


def difference(case: Case) -> str | None:
    """How the implementations differ; None if they do not."""
    for options in _ALL_OPTIONS[case.form]:
        ours, theirs = native(case, options), reference(case, options)
        if type(theirs) is not type(ours) or _said(theirs) != _said(ours):
            return f"native    {ours!r}\nreference {theirs!r}, {options}"
    return None


def _said(outcome: bytes | ConversionError) -> object:
    """The bytes, or place, path and reason of the error."""
    return outcome.args if isinstance(outcome, ConversionError) else outcome


def shrink(case: Case, fails: Callable[[Case], object]) -> Case:
    """The case without the parts that it fails without, as far as deleting them one by one goes."""
    data = case.data
    size = max(len(data) // 2, 1)
    while True:
        at, before = 0, len(data)
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if fails(case._replace(data=shorter)):
                data = shorter
            else:
                at += size
        if size == 1 and len(data) == before:
            return case._replace(data=data)
        size = max(size // 2, 1)


def check(case: Case, tally: Tally) -> None:
    """Compares the implementations on one case.

    Raises:
        AssertionError: They differ.
    """
    if difference(case) is not None:
        small = shrink(case, difference)
        name = small.kind.DESCRIPTOR.name
        raise AssertionError(f"{small.form} {name} {small.data!r}\n{difference(small)}")
    ours = native(case)
    if isinstance(ours, bytes):
        tally.same += 1
    else:
        tally.refused += 1
        tally.reasons[_DETAIL.sub("*", ours.reason)] += 1


class Fuzzer:
    """An endless supply of cases, the same for the same seed.

    Args:
        seed: Of the random numbers.
        corpus: A folder of more texts and messages, by their endings `.json` and `.binpb`; the
            type is looked for, since the names do not say it.
    """

    def __init__(self, seed: int, corpus: Path | None = None) -> None:
        self.rng = random.Random(seed)
        self.texts: dict[type[Message], list[Text]] = {kind: [] for kind in MIRRORS}
        self.binaries: dict[type[Message], list[Nodes]] = {kind: [] for kind in MIRRORS}
        self.first: list[Case] = []
        for vector in vectors():
            self._add_text(vector.message_type, vector.json)
            self._add_message(vector.message_type.FromString(vector.binary))
        manifest = json.loads((VECTORS / "invalid" / "manifest.json").read_bytes())
        for entry in manifest:
            ending = "json" if entry["form"] == JSON else "binpb"
            data = (VECTORS / "invalid" / f"{entry['name']}.{ending}").read_bytes()
            self.first.append(Case(entry["form"], message_class(entry["message_type"]), data))
        for path in sorted(corpus.rglob("*")) if corpus is not None else ():
            if path.suffix in (".json", ".binpb"):
                self._add_file(path.read_bytes(), JSON if path.suffix == ".json" else BINARY)
        names = sorted({name for kind in MIRRORS for name in mapping_of(kind).fields})
        words = {
            word
            for kind in MIRRORS
            for found in mapping_of(kind).fields.values()
            if found.enum is not None
            for word in found.enum.numbers
        }
        self.json_mutator = JsonMutator(self.rng, names, sorted(words))
        self.binary_mutator = BinaryMutator(self.rng)
        self.kinds_with_texts = [kind for kind in MIRRORS if self.texts[kind]]

    def _add_text(self, kind: type[Message], data: bytes) -> None:
        self.first.append(Case(JSON, kind, data))
        self.texts[kind].append(Text(data.decode()))

    def _add_message(self, message: Message) -> None:
        """Adds a message and those in it, as bytes and as text."""
        for _, part in walk(message):
            kind = type(part)
            if kind not in self.binaries:
                continue  # a union or a residue
            data = part.SerializeToString(deterministic=True)
            case = Case(BINARY, kind, data)
            self.first.append(case)
            if len(data) <= _LONG:
                self.binaries[kind].append(decode(data, below_of(mapping_of(kind))))
                text = reference(case)
                if isinstance(text, bytes):
                    self.texts[kind].append(Text(text.decode()))

    def _add_file(self, data: bytes, form: str) -> None:
        if len(data) > _LONG:
            return
        for kind in MIRRORS[:1] if form == JSON else MIRRORS:
            case = Case(form, kind, data)
            self.first.append(case)
            if form == JSON and find_error(data, allow_nan=False) is None:
                for each in (message_class(f"chatpb.v1.{name}") for name in _ROOTS):
                    self._add_text(each, data)
            elif form == BINARY:
                try:
                    self._add_message(kind.FromString(data))
                except DecodeError:
                    continue

    def cases(self) -> Iterator[Case]:
        """The seeds as they are, and then mutations of them without end."""
        yield from self.first
        rng = self.rng
        while True:
            kind = rng.choice(self.kinds_with_texts)
            if rng.random() < 0.55:
                data = self.json_mutator.mutate(self._choose(self.texts[kind]))
                other = kind if rng.random() < 0.97 else rng.choice(MIRRORS)
                yield Case(JSON, other, data)
            else:
                seeds = self.binaries[kind] or [[]]
                other_nodes = rng.choice(seeds)
                data = self.binary_mutator.mutate(rng.choice(seeds), other_nodes)
                other = kind if rng.random() < 0.97 else rng.choice(MIRRORS)
                yield Case(BINARY, other, data)

    def _choose(self, seeds: list[Text]) -> Text:
        """One of the seeds, rather a short one: many small cases find more than few large ones."""
        one, two = self.rng.choice(seeds), self.rng.choice(seeds)
        return one if len(one.text) <= len(two.text) else two


_ROOTS: Final = ("ChatCompletion", "ChatCompletionChunk", "ChatCompletionRequest")


def run(count: int, seed: int, corpus: Path | None = None, seconds: float = 1e9) -> Tally:
    """Compares the implementations on that many cases.

    Raises:
        AssertionError: They differ.
    """
    tally, end = Tally(), time.monotonic() + seconds
    for case in Fuzzer(seed, corpus).cases():
        if tally.total >= count or (tally.total % 256 == 0 and time.monotonic() > end):
            break
        check(case, tally)
    return tally


def main() -> None:
    """Runs the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--corpus", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="MAX")
    arguments = parser.parse_args()
    if transcoder is None:
        sys.exit("the native implementation was not built")
    start = time.monotonic()
    try:
        tally = run(arguments.count, arguments.seed, arguments.corpus, arguments.seconds)
    except AssertionError as error:
        sys.exit(f"the implementations differ\n{error}")
    print(tally)
    print(f"{tally.total / (time.monotonic() - start):.0f} cases/s")


if __name__ == "__main__":
    main()
