"""Tables on an object store: a real server of S3's interface, several writers, and trouble."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

from chatpb.table import Dataset, DatasetConflictError, DatasetError
from chatpb.table._care import vacuum as _vacuum
from chatpb.table._delta.listing import listed, read_bytes
from support.limits import SOAK, TIMEOUT
from support.object_store import (
    BUCKET,
    FailOften,
    FailWrites,
    LoseFirst,
    Overtake,
    options,
    served,
    troubled,
)
from support.table_files import completion, lines
from table.test_dataset import RECORDS, record
from table.test_vacuum_races import an_hour_later, once

TESTS = Path(__file__).parents[1]
FAST = {"max_retries": "3", "retry_timeout": "10s", "backoff_config.init_backoff": "10ms"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with served() as url:
        yield url


@pytest.fixture
def uri() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4()}/a table"


def test_gives_back_what_was_added(server: str, uri: str) -> None:
    dataset = Dataset(uri, options(server))
    added = dataset.append(RECORDS[:30])
    dataset.append(RECORDS[30:], row_group_rows=10, max_file_bytes=1)
    assert RECORDS == list(Dataset(uri, options(server)).records())
    assert RECORDS[:30] == list(dataset.at(0).records())
    assert RECORDS[46:] == list(dataset.records(pc.field("total_tokens") > 46))
    assert (1, 3) == (dataset.version(), len(dataset.files()))
    assert f"{uri}/{added.parts[0]}" == dataset.files()[0].place
    assert (3, 50, ()) == (
        (found := dataset.verify()).files,
        found.records,
        found.damaged,
    )
    with dataset.writer() as writer:
        writer.taken["chatpb:a"] = 4
    with dataset.writer() as writer:
        assert {"chatpb:a": 4} == writer.taken_before("chatpb:a")


def test_partitions(server: str, uri: str) -> None:
    dataset = Dataset(uri, options(server))
    dataset.append(RECORDS, partition_by="model")
    dataset.append(RECORDS)
    partitions = [part.partition for part in dataset.files()]
    assert [{"partition_model": f"gpt-{n}"} for n in (0, 1, 0, 1)] == partitions
    assert sorted(RECORDS * 2) == sorted(dataset.records())


def test_what_is_absent(server: str, uri: str) -> None:
    with pytest.raises(DatasetError) as caught:
        Dataset(uri, options(server)).files()
    assert f"{uri}: no table: there is no Delta log there" == str(caught.value)
    with pytest.raises(
        DatasetError, match=r"^s3://none/t: cannot be opened: .*bucket does not exist"
    ):
        Dataset("s3://none/t", options(server)).append(RECORDS)
    with pytest.raises(DatasetError, match=r"^ftp://a/b: the scheme ftp is unknown; a table is at"):
        Dataset("ftp://a/b")


WRITER = """
import json, sys
from chatpb.table import Dataset
from table.test_dataset import record
uri, options, start, commits = json.loads(sys.argv[1])
dataset = Dataset(uri, options)
print("ready", flush=True)
sys.stdin.readline()
for number in range(commits):
    dataset.append(record(start + 10 * number + each) for each in range(10))
"""


@pytest.mark.parametrize("writers", [2, 3])
def test_writers_at_once(writers: int, server: str, uri: str) -> None:
    """Processes that add at the same time, from the commit that creates the table on."""
    commits = 20 if SOAK else 4
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                json.dumps([uri, options(server), 1000 * number, commits]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
        )
        for number in range(writers)
    ]
    for each in started:
        assert each.stdout is not None
        assert b"ready\n" == each.stdout.readline()
    for each in started:
        assert each.stdin is not None
        each.stdin.write(b"\n")
        each.stdin.flush()
    for each in started:
        each.communicate(timeout=TIMEOUT)
        assert 0 == each.returncode
    expected = [
        record(1000 * number + each) for number in range(writers) for each in range(10 * commits)
    ]
    dataset = Dataset(uri, options(server))
    assert sorted(expected) == sorted(dataset.records())
    assert (writers * commits, writers * commits - 1) == (len(dataset.files()), dataset.version())


def test_compact_and_verify(server: str, uri: str, tmp_path: Path) -> None:
    """The command line takes what the store needs from the environment."""
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*map(completion, range(5))))
    environment = {**os.environ, **options(server)}

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "chatpb", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT
        ).stdout

    assert run("compact", path, uri).startswith("5 records, ")
    assert "nothing new\n" == run("compact", path, uri)
    with path.open("a") as stream:
        stream.write(lines(completion(6)))
    assert run("compact", path, uri).startswith("1 record, ")
    assert run("verify", uri).startswith(f"{uri}: 2 files whole, with 6 records in ")


def test_answers_that_are_lost(server: str, uri: str) -> None:
    """A commit whose answer never comes is found again, rather than made twice."""
    with troubled(server, LoseFirst()) as url:
        dataset = Dataset(uri, options(url, **FAST))
        for number in range(3):
            dataset.append(RECORDS[number * 10 : number * 10 + 10])
    dataset = Dataset(uri, options(server))
    assert RECORDS[:30] == list(dataset.records())
    assert (2, 3) == (dataset.version(), len(dataset.files()))


def test_errors_and_slowness(server: str, uri: str) -> None:
    """Every third request fails, and every fourth takes a while."""
    with troubled(server, FailOften()) as url:
        dataset = Dataset(uri, options(url, **FAST))
        dataset.append(RECORDS[:30])
        dataset.append(RECORDS[30:])
        assert RECORDS == list(dataset.records())
        assert not dataset.verify().damaged


@pytest.mark.parametrize("what", ["_delta_log", ".parquet"])
def test_a_store_that_fails(what: str, server: str, uri: str) -> None:
    """It is an error that names the place, and what was there before stays."""
    Dataset(uri, options(server)).append(RECORDS[:10])
    with troubled(server, FailWrites(what)) as url:
        dataset = Dataset(uri, options(url, **{**FAST, "max_retries": "1"}))
        with pytest.raises(DatasetError) as caught:
            dataset.append(RECORDS[10:])
        assert str(caught.value).startswith(f"{uri}")
        assert "500 Internal Server Error" in str(caught.value)
        assert "\x1b" not in str(caught.value)
    dataset = Dataset(uri, options(server))
    assert (RECORDS[:10], 0) == (list(dataset.records()), dataset.version())


def test_a_store_that_is_away(uri: str) -> None:
    with pytest.raises(DatasetError, match=f"^{uri}: cannot be opened: "):
        Dataset(uri, options("http://127.0.0.1:9", max_retries="0")).files()


def test_the_care_of_a_table(server: str, uri: str) -> None:
    """Also that no object has what was deleted for good."""
    dataset = Dataset(uri, options(server))
    for first in range(0, 50, 10):
        dataset.append(RECORDS[first : first + 10])
    assert (5, 1) == ((done := dataset.optimize()).removed, done.added)
    assert RECORDS == list(dataset.records())
    assert 6 == dataset.restore(0)
    assert RECORDS[:10] == list(dataset.records())
    assert 7 == dataset.restore(5)

    deleted = dataset.delete(pc.field("id") == "chatcmpl-41", vacuum=True)
    assert (1, ()) == (deleted.records, deleted.vacuumed and deleted.vacuumed.unfinished)
    assert [*RECORDS[:41], *RECORDS[42:]] == list(Dataset(uri, options(server)).records())
    assert ["delete"] == [commit.operation for commit in dataset.history()]
    left = listed(dataset._location)
    assert 4 == len(left)
    for stored in left:
        content = read_bytes(dataset._location, stored.name)
        if stored.name.endswith(".parquet"):
            rows = pa.parquet.read_table(pa.BufferReader(content)).to_pylist()
            content += str(rows).encode()
        assert b"chatcmpl-41" not in content
    dataset.append(RECORDS[:1])
    assert 0 == dataset.vacuum().files


def _others(uri: str, url: str) -> None:
    dataset = Dataset(uri, options(url))
    for first in (10, 20):
        dataset.append(RECORDS[first : first + 10])
    dataset.optimize()
    dataset.vacuum(timedelta(0))


def test_a_commit_that_vacuum_overtakes(server: str, uri: str) -> None:
    """The name of its entry is free again when it arrives, but nobody reads it there."""
    Dataset(uri, options(server)).append(RECORDS[:10])
    others = functools.partial(_others, uri, server)
    with troubled(server, Overtake(f"_delta_log/{1:020}.json", others)) as url:
        Dataset(uri, options(url)).append(RECORDS[30:])
    dataset = Dataset(uri, options(server))
    assert sorted(RECORDS) == sorted(dataset.records())
    assert not dataset.verify().damaged
    assert f"_delta_log/{1:020}.json" not in {each.name for each in listed(dataset._location)}


def test_a_writer_that_is_slower_than_vacuum(
    server: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It commits when `vacuum` is about to remove what it has written."""
    table = Dataset(uri, options(server))
    table.append([record(0)])
    an_hour_later(monkeypatch)
    with table.detached_writer() as writer:
        writer.write(record(1))
        writer.finish()

        def late() -> None:
            with pytest.raises(DatasetConflictError, match=r"vacuum .* write it again"):
                writer.commit()

        calls = once(monkeypatch, _vacuum, "remove_all", late)
        assert 1 == table.vacuum(timedelta(0)).files
        assert calls
    assert not table.verify().damaged
    assert [record(0)] == list(table.records())


def test_sql(server: str, uri: str) -> None:
    """DuckDB reads an object store without an extension, and only the row groups that it needs."""
    dataset = Dataset(uri, options(server))
    dataset.append(RECORDS[:30], row_group_rows=10)
    dataset.append(RECORDS[30:])
    with dataset.sql(before=0) as connection:
        query = "SELECT count(*), (SELECT count(*) FROM before.exchanges) FROM exchanges"
        assert [(len(RECORDS), 30)] == connection.sql(query).fetchall()
        files = connection.sql("SELECT DISTINCT file FROM records ORDER BY file").fetchall()
        assert sorted(part.name for part in dataset.files()) == [name for (name,) in files]
