"""The files of a table: what they leave out, and how their values are written."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import chatpb
from chatpb.table import Dataset, from_batch, to_batch
from chatpb.table._files.encoding import parquet_options
from chatpb.v1 import ChatCompletionChunk, ChatCompletionRequest, CompletionRecord
from support import build

Group = Callable[[int], Any]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FOOTER = 4 << 10  # bytes of a file outside of its columns, at most
WORDS = ("the", "a", "rain", "sea", "water", "wind", "rises", "falls", "cold", "over", "and")


def said(rng: random.Random, length: int = 60) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def record(request: dict[str, Any] | None, choice: dict[str, Any]) -> CompletionRecord:
    completion = chatpb.from_dict(build.completion(choice))
    asked = chatpb.from_dict(request, ChatCompletionRequest) if request else None
    return CompletionRecord(request=asked, completion=completion)


def conversations(count: int, turns: int) -> list[CompletionRecord]:
    """The turns of many conversations: the first of each, then the second of each, and so on."""
    rng = random.Random(1)
    histories: list[list[dict[str, Any]]] = [
        [{"role": "system", "content": said(rng)}] for _ in range(count)
    ]
    found = []
    for _ in range(turns):
        for messages in histories:
            messages.append({"role": "user", "content": said(rng)})
            answer = said(rng)
            request = {"model": "m", "messages": list(messages)}
            found.append(record(request, build.choice(answer)))
            messages.append({"role": "assistant", "content": answer})
    return found


def columns(path: Path) -> dict[str, Any]:
    """The columns of the first row group of a file, by their paths."""
    group = pq.read_metadata(path).row_group(0)
    every = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema: column for column in every}


def written(dataset: Dataset, records: list[CompletionRecord], **options: Any) -> list[Path]:
    dataset.append(records, **options)
    return [part.path for part in dataset.files()]


def test_a_file_has_what_is_not_null_in_it(tmp_path: Path) -> None:
    [path] = written(Dataset(tmp_path), [record(None, build.choice("Hi"))])
    found = columns(path)
    assert "messages.list.element.content" in found
    assert "record" in found
    assert not [name for name in found if "tool_calls" in name or "refusal" in name]
    assert not [name for name in found if name.startswith(("request_", "chunks", "logprobs"))]


def test_what_is_null_in_a_file_only_comes_back_null(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    plain = record(None, build.choice("Hi"))
    refused = record(None, build.choice(None, refusal="No."))
    called = record(None, build.choice(None, tool_calls=[CALL]))
    empty = CompletionRecord(caller="a")
    records = [plain, refused, called, empty]
    for each in records:
        dataset.append([each])

    assert records == list(map(CompletionRecord.FromString, dataset.records()))
    schemas = {tuple(columns(part.path)) for part in dataset.files()}
    assert len(schemas) == len(records)
    whole = to_batch(records).column("messages").to_pylist()
    assert whole == [row for batch in dataset.scan() for row in batch["messages"].to_pylist()]
    paths = [str(part.path) for part in dataset.files()]
    contents = duckdb.execute(
        "select m.content, m.refusal, m.tool_calls[1].name from"
        " (select unnest(messages) m from read_parquet(?, union_by_name = true))",
        [paths],
    ).fetchall()
    assert {("Hi", None, None), (None, "No.", None), (None, None, "f")} == set(contents)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_field_that_the_file_lacks_begins_another(tmp_path: Path, *, is_first: bool) -> None:
    plain = record(None, build.choice("Hi"))
    refused = record(None, build.choice("Hi", refusal="No."))
    records = [refused, plain] if is_first else [plain, refused]
    dataset = Dataset(tmp_path)
    paths = written(dataset, records, row_group_rows=1)
    assert (1 if is_first else 2) == len(paths)
    assert records == list(map(CompletionRecord.FromString, dataset.records()))


def test_a_text_that_comes_again_is_written_once(tmp_path: Path) -> None:
    """Also where the same text is far away, and where the texts are larger than Arrow's limit."""
    records = conversations(count=300, turns=6)
    [path] = written(Dataset(tmp_path), records)
    column = columns(path)["messages.list.element.content"]
    unique = {m.content.text for each in records for m in each.request.messages} | {
        each.completion.choices[0].message.content for each in records
    }
    assert column.dictionary_page_offset
    assert "PLAIN" in column.encodings
    size = sum(map(len, unique))
    assert size > 1 << 20
    assert column.total_uncompressed_size < 1.1 * size


def outside(path: Path) -> int:
    """The bytes of a file that are outside of its columns."""
    found = pq.read_metadata(path)
    every = range(found.num_row_groups), range(found.num_columns)
    size: int = sum(found.row_group(g).column(c).total_compressed_size for g, c in product(*every))
    return path.stat().st_size - size


def groups(path: Path) -> list[int]:
    """The rows of each row group."""
    found = pq.read_metadata(path)
    return [found.row_group(number).num_rows for number in range(found.num_row_groups)]


def test_texts_that_come_again_do_not_fill_a_row_group(tmp_path: Path) -> None:
    """So its dictionary reaches farther, and the footer is short; the first of each does."""
    records = conversations(count=300, turns=6)
    size, limit = sum(each.ByteSize() for each in records), 1 << 21
    assert 2 * limit < size
    [path] = written(Dataset(tmp_path / "repeats"), records, row_group_bytes=limit)
    assert [len(records)] == groups(path)
    assert outside(path) < FOOTER

    rng = random.Random(2)
    different = [record(None, build.choice(said(rng, 300))) for _ in range(3000)]
    [path] = written(Dataset(tmp_path / "different"), different, row_group_bytes=limit)
    assert len(groups(path)) >= sum(each.ByteSize() for each in different) // limit > 1


def test_a_row_group_is_bounded_if_all_texts_are_the_same(tmp_path: Path) -> None:
    same = [record(None, build.choice(said(random.Random(3), 400)))] * 2000
    limit = 1 << 17
    [path] = written(Dataset(tmp_path), same, row_group_bytes=limit)
    most = 5 * limit // same[0].ByteSize()  # four times, and a slice of those that are added
    assert max(groups(path)) <= most
    assert max(groups(path)) > 2 * limit // same[0].ByteSize()


def test_texts_that_differ_have_no_dictionary(tmp_path: Path) -> None:
    rng = random.Random(1)
    records = [record(None, build.choice(said(rng))) for _ in range(500)]
    [path] = written(Dataset(tmp_path), records)
    assert not columns(path)["messages.list.element.content"].has_dictionary_page


@pytest.mark.parametrize("turns", [1, 4])
def test_little_is_outside_of_the_columns(tmp_path: Path, turns: int) -> None:
    [path] = written(Dataset(tmp_path), conversations(count=20, turns=turns))
    size = sum(column.total_compressed_size for column in columns(path).values())
    assert path.stat().st_size - size <= FOOTER


def test_spark_and_duckdb_read_the_encodings_of_all_columns(tmp_path: Path) -> None:
    """Spark before 4.3 reads streams of bytes in lists only, DuckDB before 2.0 of floats only."""
    rng = random.Random(1)
    records = [
        CompletionRecord(
            completion=each.completion,
            chunks=[ChatCompletionChunk(created=rng.getrandbits(40))],
            start_time_unix_us=1_700_000_000_000_000 + rng.getrandbits(40),
            duration_us=rng.getrandbits(30),
        )
        for each in conversations(count=300, turns=1)
    ]
    for each in records:
        each.completion.choices[0].index = rng.getrandbits(31)
        token = each.completion.choices[0].logprobs.content.add(token="a", logprob=-0.5)
        token.top_logprobs.add(token="b", logprob=-1.25)
    [path] = written(Dataset(tmp_path), records)
    found = columns(path)
    assert {"duration_us", "messages.list.element.choice"} <= found.keys()
    split = {name for name, each in found.items() if "BYTE_STREAM_SPLIT" in each.encodings}
    tokens = "logprobs.list.element"
    assert split == {f"{tokens}.logprob", f"{tokens}.top_logprobs.list.element.logprob"}


def test_numbers_have_statistics(tmp_path: Path) -> None:
    records = conversations(count=3, turns=1)
    [path] = written(Dataset(tmp_path), records)
    found = columns(path)
    assert found["created"].statistics.has_min_max
    assert not found["messages.list.element.content"].is_stats_set


def test_a_higher_level_makes_smaller_files(tmp_path: Path) -> None:
    records = conversations(count=100, turns=3)
    sizes = [
        sum(path.stat().st_size for path in written(Dataset(tmp_path / str(n)), records, level=n))
        for n in (1, 3, 19)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_a_page_has_any_number_of_rows_unless_a_text_has_a_dictionary() -> None:
    """Arrow's own limit is 20,000, also of short rows."""
    rng = random.Random(1)
    different = to_batch([record(None, build.choice(said(rng))) for _ in range(50)])
    limit = parquet_options(different).get("max_rows_per_page")
    assert limit is None or limit > 1 << 30  # older versions of Arrow have no limit
    assert "max_rows_per_page" not in parquet_options(to_batch(conversations(20, turns=4)))


def test_a_few_tokens_are_written_at_a_high_level() -> None:
    given = record(None, build.choice("Hi"))
    for number in range(1000):
        given.completion.choices[0].logprobs.content.add(token="a", logprob=-number / 7)
    path, batch = "logprobs.list.element.logprob", to_batch([given])
    many = pa.Table.from_batches([batch] * 70)
    levels = [
        parquet_options(rows, level=level)["compression_level"][path]
        for rows, level in ((batch, 3), (many, 3), (batch, 1), (many, 19))
    ]
    assert [16, 3, 1, 3] == levels


def test_records_are_the_same_by_way_of_the_columns(tmp_path: Path) -> None:
    records = conversations(10, 4)
    table = Dataset(tmp_path)
    for some in (records[:25], records[25:]):
        table.append(some, row_group_rows=7)
    assert [*table.records()] == [each for batch in table.scan() for each in from_batch(batch)]


_IMPORTED = """
import sys
from chatpb.table import Dataset
table = Dataset(sys.argv[1])
line = b'{"id": "1", "choices": [{"message": {"content": "%s"}}]}' % (b"a text" * 1000)
with table.writer() as writer:
    for _ in range(20):
        writer.write_json(line)
table.append([*table.records()])
assert len([*table.lines()])
print(*{"pandas", "pyarrow.compute", "pyarrow.dataset"} & sys.modules.keys())
"""


def test_slow_modules_are_not_imported_to_write_and_to_read_records(tmp_path: Path) -> None:
    # pandas takes longer than the conversion of some MB.
    command = [sys.executable, "-c", _IMPORTED, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "\n"
