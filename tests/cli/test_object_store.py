"""The commands on a table on an object store."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.test_tables_as_input import RECORDS
from support.command_line import run, started
from support.object_store import BUCKET, options, served, with_keys_checked
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


COMMANDS = (
    "compact INPUT URI",
    "compact URI OUTPUT",
    "cat URI",
    "ls URI",
    "stat URI",
    "grep total_tokens>1 URI",
    "sql URI select",
    "sql URI --views",
    "export URI",
    "optimize URI",
    "delete URI total_tokens>1",
    "vacuum URI",
    "history URI",
    "restore URI 0",
    "verify URI",
)


def refusals(uri: str, store: dict[str, str], tmp_path: Path) -> set[str]:
    """What the commands report after the table's URI."""
    (tmp_path / "a.jsonl").write_text(lines(*RECORDS))
    places = {"INPUT": str(tmp_path / "a.jsonl"), "URI": uri, "OUTPUT": str(tmp_path / "new")}
    given = [f"--storage-option={key}={value}" for key, value in store.items()]
    texts = set()
    for command in COMMANDS:
        name, *arguments = command.split()
        result = run(name, *given, *(places.get(each, each) for each in arguments))
        found = re.fullmatch(
            rf"chatpb: error: {uri}: cannot be (?:opened|listed): (.*)\n", result.stderr
        )
        assert (1, "", True) == (result.exit_code, result.stdout, found is not None), result.stderr
        assert found is not None
        texts.add(found[1])
    return texts


def test_a_bucket_that_does_not_exist(server: str, tmp_path: Path) -> None:
    assert {"the bucket does not exist; create it, or correct the URI"} == refusals(
        "s3://none/a", options(server), tmp_path
    )


def test_wrong_keys(server: str, tmp_path: Path) -> None:
    with with_keys_checked(server):
        assert {
            "access is denied (403 Forbidden: The AWS Access Key Id you provided does not exist in"
            " our records); correct the credentials in the environment or as storage options"
        } == refusals(f"s3://{BUCKET}/a", options(server), tmp_path)


def test_an_endpoint_where_nobody_listens(tmp_path: Path) -> None:
    assert {
        "http://127.0.0.1:9 does not answer: connection refused; correct the endpoint in the"
        " environment or as storage options, or try again"
    } == refusals(f"s3://{BUCKET}/a", options("http://127.0.0.1:9", max_retries="0"), tmp_path)


def test_an_endpoint_without_tls(server: str, tmp_path: Path) -> None:
    assert {
        f"{server} is not encrypted; if that is right, set AWS_ALLOW_HTTP=true in the environment"
        " or as storage options"
    } == refusals(f"s3://{BUCKET}/a", options(server, AWS_ALLOW_HTTP="false"), tmp_path)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in all: delta-rs writes none of its own, whatever the machine answers."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "RUST_LOG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with started("history", f"s3://{BUCKET}/a") as process:
        assert (b"", ERROR) == process.communicate()


ERROR = (
    b"chatpb: error: s3://%b/a: cannot be opened: there are no credentials; set AWS_ACCESS_KEY_ID"
    b" and AWS_SECRET_ACCESS_KEY in the environment or as storage options\n" % BUCKET.encode()
)
