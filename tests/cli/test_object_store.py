"""The commands on a table on an object store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.test_tables_as_input import RECORDS
from support.command_line import run
from support.object_store import BUCKET, options, served
from support.table_files import compacted, found, lines, printed


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with served() as url:
        yield url


def test_commands_on_an_object_store(server: str, tmp_path: Path) -> None:
    table = tmp_path / "table"
    (tmp_path / "a.jsonl").write_text(lines(*RECORDS))
    compacted(tmp_path / "a.jsonl", table)
    uri = f"s3://{BUCKET}/{uuid.uuid4()}/table"
    store = [f"--storage-option={key}={value}" for key, value in options(server).items()]
    assert compacted(*store, table, uri).startswith("3 records, ")
    assert RECORDS == printed("cat", *store, "--what", "record", uri)
    assert run("cat", table).stdout == run("export", *store, uri).stdout
    condition = "answer = 'Hello'"
    stream = run("export", *store, "--form", "records", "--where", condition, uri).stdout
    assert stream == run("grep", "--what", "record", condition, table).stdout != ""
    listed = run("ls", *store, uri).stdout.splitlines()
    assert (2, True) == (len(listed), f"  {uri}/part-" in listed[1])
    assert "3 rows in 1 file and 1 row group" in run("stat", *store, uri).stdout
    assert compacted(*store, uri, tmp_path / "new").startswith("3 records, ")
    assert RECORDS == found(tmp_path / "new")
    result = run("cat", "--storage-option", "x", uri)
    assert (2, True) == (result.exit_code, "--storage-option" in result.stderr)
