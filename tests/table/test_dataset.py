"""Datasets: what goes in comes out, and a commit happens whole or not at all."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

import chatpb
from chatpb._errors import ConversionError
from chatpb.table import Dataset, DatasetConflictError, DatasetError, to_batch
from chatpb.v1 import CompletionRecord
from support.limits import SOAK


def record(number: int, size: int = 10) -> bytes:
    completion = chatpb.from_dict(
        {
            "id": f"chatcmpl-{number}",
            "created": 1_760_000_000 + number,
            "model": f"gpt-{number % 2}",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * size}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": number, "total_tokens": number + 1},
        }
    )
    return CompletionRecord(completion=completion).SerializeToString(deterministic=True)


RECORDS = [record(number) for number in range(50)]


def names(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != "_delta_log")


def test_gives_back_what_was_added(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "table")
    first = dataset.append(RECORDS[:30])
    second = dataset.append(CompletionRecord.FromString(data) for data in RECORDS[30:])

    assert RECORDS == list(Dataset(tmp_path / "table").records())
    assert (30, 20) == (first.records, second.records)
    json_bytes = [
        len(chatpb.to_json(CompletionRecord.FromString(data).completion)) for data in RECORDS
    ]
    assert (sum(json_bytes[:30]), sum(json_bytes[30:])) == (first.json_bytes, second.json_bytes)
    parts = dataset.files()
    assert [*first.parts, *second.parts] == [part.name for part in parts]
    assert [first.table_bytes, second.table_bytes] == [part.path.stat().st_size for part in parts]
    assert [first.json_bytes, second.json_bytes] == [part.json_bytes for part in parts]


def test_files_and_row_groups_are_bounded(tmp_path: Path) -> None:
    records = [record(number, 10_000) for number in range(40)]
    dataset = Dataset(tmp_path)
    dataset.append(records, row_group_bytes=50_000, max_file_bytes=100_000)

    assert records == list(dataset.records())
    metadata = [part.metadata for part in dataset.files()]
    assert [[4, 4, 4]] * 3 + [[4]] == [
        [found.row_group(group).num_rows for group in range(found.num_row_groups)]
        for found in metadata
    ]
    dataset = Dataset(tmp_path / "rows")
    dataset.append(RECORDS, row_group_rows=20)
    found = dataset.files()[0].metadata
    assert [20, 20, 10] == [found.row_group(group).num_rows for group in range(3)]


def test_scan_reads_columns_and_rows(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS, row_group_rows=10)
    where = (pc.field("model") == "gpt-1") & (pc.field("total_tokens") > 45)
    found = pa.Table.from_batches(dataset.scan(["id", "total_tokens"], where))

    assert {"id": ["chatcmpl-45", "chatcmpl-47", "chatcmpl-49"], "total_tokens": [46, 48, 50]} == (
        found.to_pydict()
    )
    assert [RECORDS[45], RECORDS[47], RECORDS[49]] == list(dataset.records(where))
    assert [4] == dataset.files()[0].row_groups(where)


def test_files_that_no_commit_has_do_not_belong_to_it(tmp_path: Path) -> None:
    """What a killed writer leaves, and what was copied there."""
    batch = to_batch(RECORDS[:5])
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS[5:10])
    pa.parquet.write_table(pa.Table.from_batches([batch]), tmp_path / "part-x.snappy.parquet")
    assert RECORDS[5:10] == list(dataset.records())
    dataset.append(RECORDS[:1])
    assert [*RECORDS[5:10], RECORDS[0]] == list(dataset.records())


def test_rows_share_the_bytes_of_their_json(tmp_path: Path) -> None:
    """So each file tells how large its own records were."""
    dataset = Dataset(tmp_path)
    with dataset.writer(row_group_rows=10, max_file_bytes=1) as writer:
        writer.write_rows(to_batch(RECORDS[:30]), 30_001)
    sizes = [part.json_bytes or 0 for part in dataset.files()]
    assert (3, 30_001) == (len(sizes), sum(sizes))
    assert all(8_000 < size < 11_000 for size in sizes), sizes


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    (part,) = dataset.files()
    part.path.unlink()
    with pytest.raises(DatasetError) as caught:
        list(dataset.records())
    assert f"{part.path}: was removed meanwhile" == str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    def error_of(path: Path) -> str:
        with pytest.raises(DatasetError) as caught:
            list(Dataset(path).records())
        return str(caught.value)

    assert f"{tmp_path}/none: no such directory" == error_of(tmp_path / "none")
    assert f"{tmp_path}: no table: there is no Delta log in it" == error_of(tmp_path)
    pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    assert error_of(tmp_path).startswith(
        f"{tmp_path}: no table: there are Parquet files in it, but"
    )
    assert f"{tmp_path}/a.parquet: not a directory, which a table is" == (
        error_of(tmp_path / "a.parquet")
    )


def test_bytes_that_are_no_record_add_nothing(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    with pytest.raises(ConversionError):
        dataset.append([*RECORDS, b"\xff\xff"])

    assert RECORDS == list(dataset.records())
    assert [dataset.files()[0].name] == names(tmp_path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    (part,) = dataset.files()
    good = part.path.read_bytes()
    noticed = 0
    for offset in range(0, len(good), 1 if SOAK else 97):
        bad = bytearray(good)
        bad[offset] ^= 1 << offset % 8
        part.path.write_bytes(bad)
        try:
            found = list(Dataset(tmp_path).records())
        except DatasetError as error:
            noticed += str(part.path) in str(error)
        else:
            assert RECORDS == found  # of bytes that say nothing
    assert noticed > 0


def test_what_is_taken_is_committed_with_the_records(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    with dataset.writer() as writer:
        writer.write(RECORDS[0])
        writer.taken = {"chatpb:a": 1, "chatpb:b": 7}
    with suppress(KeyError), dataset.writer() as writer:
        writer.write(RECORDS[1])
        writer.taken["chatpb:a"] = 2
        raise KeyError
    with dataset.writer() as writer:
        assert {"chatpb:a": 1} == writer.taken_before("chatpb:a")
        writer.taken["chatpb:a"] = 3
    with dataset.writer() as writer:
        assert {"chatpb:a": 3} == writer.taken_before("chatpb:a")
        assert {"chatpb:b": 7} == writer.taken_before("chatpb:b")
    assert RECORDS[:1] == list(dataset.records())


def test_two_writers_at_once(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    with dataset.writer() as writer:
        writer.write(RECORDS[0])
        Dataset(tmp_path).append(RECORDS[1:])
    assert sorted(RECORDS) == sorted(dataset.records())


def test_two_writers_that_take_the_same_input(tmp_path: Path) -> None:
    """The second one adds nothing, and its files are removed."""

    def take(record: bytes, meanwhile: Callable[[], object] = int) -> None:
        with Dataset(tmp_path).writer() as writer:
            writer.write(record)
            writer.taken["chatpb:a"] = 1
            meanwhile()

    with pytest.raises(DatasetConflictError) as caught:
        take(RECORDS[0], lambda: take(RECORDS[1]))
    assert f"{tmp_path}: another writer has taken the same input" == str(caught.value)
    dataset = Dataset(tmp_path)
    assert [RECORDS[1]] == list(dataset.records())
    assert sorted(part.name for part in dataset.files()) == names(tmp_path)


def test_readers_see_whole_commits_while_a_writer_adds(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.append(RECORDS)
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            dataset.append(RECORDS, row_group_rows=10, max_file_bytes=1)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    while not done.is_set():
        counts.append(sum(batch.num_rows for batch in Dataset(tmp_path).scan(["id"])))
    writer.join()
    assert {0} == {count % len(RECORDS) for count in counts}
    assert sorted(counts) == counts
    assert 21 * len(RECORDS) == len(list(dataset.records()))


WRITER = """
import sys
from chatpb.table import Dataset
from table.test_dataset import record
from support.limits import SOAK
with Dataset(sys.argv[1]).writer(row_group_rows=10, max_file_bytes=1) as writer:
    print("begun", flush=True)
    for number in range(100):
        writer.write(record(number))
print("done", flush=True)
"""


def test_killed_at_random_points(tmp_path: Path) -> None:
    """Nothing or all of what a process adds is there, whenever it is killed."""
    rounds = 200 if SOAK else 3
    chance = random.Random(1)
    whole = [record(number) for number in range(100)]
    added = 0
    dataset = Dataset(tmp_path / "table")
    dataset.append(whole)
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, dataset.path],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        ) as process:
            assert process.stdout is not None
            assert b"begun\n" == process.stdout.readline()
            try:
                process.wait(chance.uniform(0, 0.15))  # about as long as it takes
            except subprocess.TimeoutExpired:
                process.kill()
            has_ended = b"done" in process.stdout.read()
        found = sum(rows.num_rows for rows in Dataset(dataset.path).scan(["created"]))
        more, rest = divmod(found - (1 + added) * len(whole), len(whole))
        assert 0 == rest
        assert more in ((1,) if has_ended else (0, 1))
        added += more
    assert whole * (1 + added) == list(dataset.records())


def test_disk_full(tmp_path: Path) -> None:
    """No file may grow beyond a limit; what was there before stays, and nothing is left over."""
    limits = [0, 100, 20_000, 60_000]
    tables = [Dataset(tmp_path / str(limit)) for limit in limits]
    for dataset in tables:
        dataset.append(RECORDS)
    noise = random.Random(2)
    texts = ["".join(map(chr, noise.choices(range(32, 0x2000), k=5000))) for _ in range(50)]
    records = [
        CompletionRecord(call_id=text, labels={"n": str(number)})
        for number, text in enumerate(texts)
    ]
    script = (
        "import resource, sys\n"
        "from chatpb.table import Dataset\n"
        "from chatpb.v1 import CompletionRecord\n"
        "import pyarrow.parquet\n"
        "records = [CompletionRecord.FromString(bytes.fromhex(line)) for line in sys.stdin]\n"
        "for limit in sys.argv[2:]:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))\n"
        "    try: Dataset(f'{sys.argv[1]}/{limit}').append(records)\n"
        "    except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, *map(str, limits)],
        input="\n".join(record.SerializeToString().hex() for record in records),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["27"] * len(limits) == done.stdout.split()  # EFBIG
    for dataset in tables:
        assert RECORDS == list(Dataset(dataset.path).records())
        assert [dataset.files()[0].name] == names(dataset.path)


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="a small file system needs root"
)
def test_file_system_full(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        dataset = Dataset(tmp_path / "table")
        dataset.append(RECORDS)
        noise = random.Random(3)
        big = [CompletionRecord(call_id=noise.randbytes(5000).hex()) for _ in range(100)]
        with pytest.raises(OSError, match=r"[Nn]o space left"):
            dataset.append(big)
        assert RECORDS == list(Dataset(dataset.path).records())
        dataset.append(RECORDS)
        assert RECORDS * 2 == list(Dataset(dataset.path).records())
    finally:
        # Lazily: a reader's threads may let go of a file a moment after its rows were read.
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Many times as much is written, and read, as is held."""
    script = (
        "import sys\n"
        "from chatpb.table import Dataset\n"
        "from support.command_line import peak_memory\n"
        "from table.test_dataset import record\n"
        "dataset = Dataset(sys.argv[1])\n"
        "dataset.append((record(n, 100_000) for n in range(100)), row_group_bytes=1 << 22)\n"
        "assert 100 == sum(1 for _ in dataset.records())\n"
        "before = peak_memory()\n"
        "dataset.append((record(n, 100_000) for n in range(3000)), row_group_bytes=1 << 22)\n"
        "assert 3100 == sum(1 for _ in dataset.records())\n"
        "print(peak_memory() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert int(done.stdout) < 150 << 20  # of 310 MB


def test_import_is_light() -> None:
    script = (
        "import chatpb, chatpb._cli, sys\n"
        "print([m for m in ('pyarrow', 'numpy', 'zstandard', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "[]\n" == done.stdout


@pytest.mark.parametrize("name", ["a:b", "s3:table", "file:x/t", "a b%#?[x]{y}"])
def test_any_name_of_a_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path with a colon is not a URI."""
    monkeypatch.chdir(tmp_path)
    dataset = Dataset(name)
    dataset.append([b""])
    assert [b""] == list(dataset.records())
    assert 1 == dataset.files()[0].metadata.num_rows
    dataset.files()[0].path.write_bytes(b"PAR1 not Parquet PAR1")
    with pytest.raises(DatasetError, match="damaged: it has 21 bytes, not ") as caught:
        list(dataset.records())
    assert str(caught.value).startswith(f"{name}/part-")


@pytest.mark.parametrize("name", ["a%20b", "a\\b", "a\nb"])
def test_names_that_delta_misreads_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="rename the directory"):
        Dataset(tmp_path / name).append([b""])
