"""Compares both implementations of shredding on mutated records, and on mutated rows.

The laws: both give the same rows, or refuse the record; the record that comes back is the message
that was given; and both write the same JSON. Of rows that no `to_batch` makes, both give the same
records, or refuse them. Run it as ``python -m table.fuzz --count 100000 --seed 1``. A record that
breaks them is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa

from chatpb import ConversionError
from chatpb._wire import embedded
from chatpb.table._rows import batches as _table
from chatpb.table._rows.assemble import assemble
from chatpb.table._rows.batches import FAULTS, batch_to_lines, from_batch, to_batch
from chatpb.table._rows.columns import (
    COLUMNS,
    RECORD,
    TOKENS,
    TOKENS_COLUMN,
)
from chatpb.table._rows.conform import plain
from chatpb.table._rows.plan import shredder
from chatpb.table._rows.token_type import REST, column_of
from chatpb.table._rows.tree import KEY, VALUE, Kind, ListColumn
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionTokenLogprob,
    CompletionRecord,
    ErrorResponse,
    TopLogprob,
)
from mapping.fuzz import BINARY, Fuzzer
from support.random_records import random_record

_FIELDS: Final = {
    ChatCompletionRequest: CompletionRecord.REQUEST_FIELD_NUMBER,
    ChatCompletion: CompletionRecord.COMPLETION_FIELD_NUMBER,
    ChatCompletionChunk: CompletionRecord.CHUNKS_FIELD_NUMBER,
    ErrorResponse: CompletionRecord.ERROR_FIELD_NUMBER,
}

assert TOKENS.list is not None
_LIST: Final = column_of(TOKENS.list)


def records(seed: int) -> Iterator[bytes]:
    """Records whose parts are mutated, without end; the same for the same seed.

    Half of them fill the columns, and a few of their bytes are changed.
    """
    rng = random.Random(seed)
    parts: list[bytes] = []
    for case in Fuzzer(seed).cases():
        number = _FIELDS.get(case.kind)
        if case.form != BINARY or number is None:
            continue
        parts.append(embedded(number, [case.data]))
        if len(parts) == 64:
            for _ in range(64):
                yield b"".join(rng.choices(parts, k=rng.choice((1, 1, 1, 2, 3))))
                yield _mutated(rng, random_record(rng).SerializeToString())
            parts.clear()


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """Bytes of which some are changed, moved or left out."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 0, 1, 2)) if data else 0):
        place = rng.randrange(len(changed) + 1)
        end = min(len(changed), place + rng.choice((0, 1, 1, 8)))
        changed[place:end] = rng.choice(
            (b"", rng.randbytes(1), bytes(changed[place:end] * 2), b"\x00", b"\x08\x04", b"\x80")
        )
    return bytes(changed)


def rows(batch: pa.RecordBatch) -> str:
    """The rows as text: maps and the fields of messages have no order, times may be too late."""
    times = [index for index, field in enumerate(batch.schema) if pa.types.is_timestamp(field.type)]
    for index in times:
        name = batch.schema.names[index]
        batch = batch.set_column(index, name, batch.column(index).cast(pa.int64()))
    found: list[dict[str, Any]] = batch.to_pylist()
    for row in found:
        for column in COLUMNS:
            if isinstance(column, ListColumn) or column.kind is not Kind.MAP:
                continue
            if (pairs := row[column.name]) is not None:
                row[column.name] = sorted({each[KEY]: each[VALUE] for each in pairs}.items())
        row[RECORD] = str(CompletionRecord.FromString(row[RECORD]))
        for token in row[TOKENS_COLUMN] or ():
            token[REST] = token[REST] and str(ChatCompletionTokenLogprob.FromString(token[REST]))
            for each in token[_LIST] or ():
                each[REST] = each[REST] and str(TopLogprob.FromString(each[REST]))
    return repr(found)


def lines(batch: pa.RecordBatch, *, natively: bool) -> list[bytes | None]:
    """The JSON lines that one of the implementations writes; None for those that it refuses."""
    if not natively:
        vars(_table)["shredder"] = lambda: None
    found: list[bytes | None] = []
    try:
        for kind in _FIELDS:
            try:
                found.append(batch_to_lines(batch, kind))
            except ConversionError:
                found.append(None)
    finally:
        vars(_table)["shredder"] = shredder
    return found


def shredded(data: bytes, *, natively: bool) -> pa.RecordBatch | None:
    """What one of the implementations gives; None if it refuses."""
    if not natively:
        vars(_table)["shredder"] = lambda: None
    try:
        return to_batch([data])
    except ConversionError:
        return None
    finally:
        vars(_table)["shredder"] = shredder


def difference(data: bytes) -> str | None:
    """What is wrong with a record, or None."""
    native, reference = shredded(data, natively=True), shredded(data, natively=False)
    if native is None or reference is None:
        return None if native is reference else "one implementation refuses it"
    if rows(native) != rows(reference):
        return f"the rows differ\n{rows(native)}\n{rows(reference)}"
    expected = str(CompletionRecord.FromString(data))
    for batch in (native, reference):
        if expected != str(CompletionRecord.FromString(from_batch(batch)[0])):
            return "another record comes back"
    if lines(native, natively=True) != lines(native, natively=False):
        return "the lines of JSON differ"
    return None


def batches(seed: int) -> Iterator[pa.RecordBatch]:
    """Rows of which some values are changed, without end; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        batch = to_batch([random_record(rng) for _ in range(2)])
        for _ in range(rng.choice((1, 1, 2))):
            place = rng.randrange(batch.num_columns)
            field = batch.schema.field(place)
            if pa.types.is_timestamp(field.type) or field.name == RECORD:
                continue
            values = [_changed(rng, value) for value in batch.column(place).to_pylist()]
            with suppress(pa.ArrowException, OverflowError):
                kind = plain(field.type) if rng.random() < 0.7 else None
                batch = batch.set_column(place, field.name, pa.array(values, kind))
        yield batch


def _changed(rng: random.Random, value: Any) -> Any:
    """A value with one change at any depth."""
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        end = place + rng.choice((0, 1, 1, 1, 1, len(value)))
        return [*value[:place], *(_changed(rng, e) for e in value[place:end]), *value[end:]]
    if isinstance(value, list):
        return rng.choice((None, [], value * 2, value[1:]))
    if isinstance(value, dict):
        name = rng.choice(list(value))
        return {**value, name: _changed(rng, value[name])} if rng.random() < 0.9 else None
    if isinstance(value, bytes):
        return rng.choice((None, _mutated(rng, value), value[1:]))
    if isinstance(value, bool) or not isinstance(value, int):
        return rng.choice((None, "assistant", "", "x", value))
    return rng.choice((None, 0, value + 1, -1, 2**15 - 1))


def difference_of_rows(batch: pa.RecordBatch) -> str | None:
    """What is wrong with the records that the implementations make of rows, or None."""
    reference = _records(lambda: [each.SerializeToString() for each in assemble(batch)])
    found = _records(lambda: from_batch(batch))
    if reference is None or found is None:
        return None if found is reference else f"one refuses the rows: {reference} {found}"
    texts = [
        [str(CompletionRecord.FromString(each)) for each in part] for part in (reference, found)
    ]
    return None if texts[0] == texts[1] else f"the records differ\n{texts[0]}\n{texts[1]}"


def _records(make: Callable[[], list[bytes]]) -> list[bytes] | None:
    try:
        return make()
    except (ConversionError, pa.ArrowException, *FAULTS):
        return None


def run_on_rows(count: int, seed: int, seconds: float = 1e9) -> Counter[str]:
    """Compares the implementations on that many batches of rows.

    Raises:
        AssertionError: They differ.
    """
    tally: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for batch in batches(seed):
        if tally.total() >= count or time.monotonic() > end:
            break
        found = difference_of_rows(batch)
        assert found is None, f"{found}\n{batch.to_pydict()}"
        is_refused = _records(lambda rows=batch: from_batch(rows)) is None  # type: ignore[misc]
        tally["rows refused" if is_refused else "rows assembled"] += 1
    return tally


def run(count: int, seed: int, seconds: float = 1e9) -> Counter[str]:
    """Compares the implementations on that many records.

    Raises:
        AssertionError: They differ.
    """
    tally: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for data in records(seed):
        if tally.total() >= count or time.monotonic() > end:
            return tally
        found = difference(data)
        assert found is None, f"{found}\n{data!r}"
        tally["refused" if shredded(data, natively=True) is None else "shredded"] += 1
    return tally


def main() -> None:
    """Runs the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="MAX")
    arguments = parser.parse_args()
    if shredder() is None:
        sys.exit("the native implementation was not built")
    try:
        tally = run(arguments.count, arguments.seed, arguments.seconds)
        tally += run_on_rows(arguments.count // 4, arguments.seed, arguments.seconds)
        print(dict(tally))
    except AssertionError as error:
        sys.exit(f"the implementations differ\n{error}")


if __name__ == "__main__":
    main()
