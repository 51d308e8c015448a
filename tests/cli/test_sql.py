"""The command `sql`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import duckdb
import pyarrow.parquet as pq
import pytest

from chatpb.table import Dataset
from chatpb.table._sql.statements import is_complete
from chatpb.table._sql.statements import run as run_sql
from chatpb.table._sql.views import VIEWS, connect
from chatpb.v1 import CompletionRecord
from support.command_line import run
from support.seeded import seeded
from support.table_rows import of_logprobs, token

VALUES = """
    select 9223372036854775807::bigint + 0 as whole, sum(9223372036854775807) as large,
      timestamptz '2026-01-31 12:00:00.25+02' as time, [1.5::float, null] as list,
      '\\xE2\\x82'::blob as bytes, {'a': 0.1::float, 'b': date '2026-01-31'} as struct,
      map {'k': -0.1::float} as map, 1.10::decimal(5, 2) as decimal, 'a"b' as whole, null as nothing
"""
JSON = (
    b'{"whole":9223372036854775807,"large":9223372036854775807,"time":"2026-01-31T10:00:00.250000Z",'
    b'"list":[1.5,null],"bytes":[226,130],"struct":{"a":0.1,"b":"2026-01-31"},"map":{"k":-0.1},'
    b'"decimal":1.10,"whole_1":"a\\"b","nothing":null}\n'
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose path has all that DuckDB could take for a pattern or the end of a text."""
    path = tmp_path_factory.mktemp("sql") / "it's a [t]able*?:x"
    Dataset(path).append(seeded()[:5])
    return path


def test_formats(table: Path, tmp_path: Path) -> None:
    assert JSON.decode() == run("sql", table, VALUES, "--format", "json").stdout
    run("sql", table, VALUES, "-o", tmp_path / "a.jsonl")
    assert JSON == (tmp_path / "a.jsonl").read_bytes()
    query = "select * from (values (1, 'a,\"b\n', 0.1::float), (null, '', null)) t(a, b, c)"
    expected = 'a,b,c\n1,"a,""b\n",0.1\n,"",\n'
    assert expected == run("sql", table, query, "--format", "csv").stdout
    head = "   a  b          c\n----  ------  ----\n"
    expected = head + '   1  a,"b\\n   0.1\nNULL          NULL\n(2 rows)\n'
    assert expected == run("sql", table, query).stdout
    run("sql", table, query, "-o", tmp_path / "a.parquet")
    assert [1, None] == pq.read_table(tmp_path / "a.parquet").column("a").to_pylist()
    long = run("sql", table, "select repeat('x', 100) as a, '\x1b[2J' as b").stdout
    assert f"{'x' * 59}…  ?[2J" in long
    assert "(0 rows)\n" in run("sql", table, "select 1 where false").stdout


def test_days_and_times_as_text(table: Path) -> None:
    """Without quotes, which only texts of JSON have."""
    query = """select date '2026-01-31' as a, time '12:30:00.5' as b, interval 1 month as c,
        timestamp '2026-01-02 12:00:00.25' - timestamp '2026-01-01' as d, interval 0 seconds as e,
        interval 1 day - interval 90 seconds as f, [date '2026-01-31'] as g,
        interval 100 seconds as h"""
    row = ["2026-01-31", "12:30:00.500000", "P1M", "P1DT43200.25S", "PT0S", "P1DT-90S"]
    lines = run("sql", table, query, "--format", "csv").stdout.splitlines()
    assert lines[1] == ",".join([*row, '"[""2026-01-31""]"', "PT100S"])
    cells = run("sql", table, query).stdout.splitlines()[2].split()
    assert cells == [*row, '["2026-01-31"]', "PT100S"]
    found = json.loads(run("sql", table, query, "--format", "json").stdout)
    assert [*found.values()] == [*row, ["2026-01-31"], "PT100S"]


@pytest.mark.parametrize("name", ["user", "current_user", "session_user", "current_role"])
def test_the_user_of_duckdb_is_not_taken_for_that_of_a_request(name: str, table: Path) -> None:
    said = f"there is no column {name}; there are caller and request_user\n"
    for text in (f"select {name}, count(*) from exchanges group by all", f"select max({name})"):
        assert (2, f"chatpb: error: sql: {said}") == (
            (result := run("sql", table, text)).exit_code,
            result.stderr,
        )
    assert f"chatpb: error: condition: {said}" == run("grep", f"{name} != 'x'", table).stderr
    text = f"select {name} from (values ('a')) as t({name})"
    assert f"{name}\na\n" == run("sql", table, text, "--format", "csv").stdout


def test_standard_input_and_several_statements(table: Path) -> None:
    text = (
        "create macro f(x) as x + 1;\n-- a comment; with a semicolon\nselect f(1) as a; select 2;"
    )
    result = run("sql", table, "-", "--format", "csv", stdin=text)
    assert ("", "a\n2\n2\n2\n") == (result.stderr, result.stdout)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("select modle from exchanges", 'line 1, column 8: Referenced column "modle"'),
        pytest.param(
            "select 1;\nselect 2 +\n  modle", 'line 3, column 3: Referenced column "modle"'
        ),
        pytest.param(
            f"select '{'x' * 300}', modle from exchanges", "line 1, column 312: Referenced"
        ),
        pytest.param("selct 1", 'line 1, column 1: syntax error at or near "selct"'),
        pytest.param("select * from nosuch", "Table with name nosuch does not exist"),
        pytest.param("select (call_id || 'x')::int from exchanges", "Could not convert string"),
        pytest.param("copy exchanges to 'a.csv'", "COPY is not allowed"),
        pytest.param("explain analyze copy(select 1) to 'a.csv'", "COPY is not allowed"),
        pytest.param("prepare p as copy (select 1) to 'a.csv'", "COPY is not allowed"),
        pytest.param(
            "select 'é'; with é as (copy (select 1) to 'a.csv') select 1", "COPY is not allowed"
        ),
        pytest.param("attach 'a.duckdb'", "ATTACH is not allowed"),
        pytest.param("delete from exchanges", "delete from base table"),
        pytest.param(" -- nothing", "there is no statement"),
        pytest.param("select * from 's3://a/b.parquet'", "httpfs"),
    ],
)
def test_mistakes(text: str, said: str, table: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("sql", table, text)
    assert 0 != result.exit_code
    assert result.stderr.startswith("chatpb: error: sql: ")
    assert said in result.stderr
    assert 1 == result.stderr.count("\n")
    assert [] == os.listdir(tmp_path)


def test_a_wrong_statement_leaves_the_output_as_it_was(table: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("before")
    assert 2 == run("sql", table, "select", "-o", tmp_path / "a.csv").exit_code
    assert "before" == (tmp_path / "a.csv").read_text()


def test_the_memory_is_the_limit(table: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    large = "set memory_limit = '30MB'; set threads = 1;" + (
        "select max(length(t)) as n from (select md5(i::text) as t from range(1000000) r(i)"
        " order by t limit 900000)"
    )
    result = run("sql", table, large)
    assert "out of memory" in result.stderr.lower()
    assert [] == os.listdir(tmp_path)
    result = run("sql", table, large, "--temp-directory", tmp_path / "spilled", "--format", "csv")
    assert ("", "n\n32\n") == (result.stderr, result.stdout)


def test_no_table(tmp_path: Path) -> None:
    result = run("sql", tmp_path / "a", "select 1")
    assert (1, f"chatpb: error: {tmp_path / 'a'}: no such directory\n") == (
        result.exit_code,
        result.stderr,
    )


COUNTS = " union all ".join(
    f"(select '{view}' as view, count(*) as n from {view})" for view in VIEWS
)


def test_the_views_over_no_files() -> None:
    with connect([]) as connection:
        assert {(view, 0) for view in VIEWS} == set(connection.sql(COUNTS).fetchall())


def test_the_views_are_listed_without_a_terminal(table: Path) -> None:
    lines = run("sql", table).stdout.splitlines()
    assert [f"{view}:" for view in VIEWS] == [
        line.split()[0] for line in lines if line and not line.startswith(" ")
    ]
    assert "exchanges: one row for each record" == lines[0]
    assert "  total_tokens" in {line[:14] for line in lines}


def test_the_views_for_any_duckdb(table: Path) -> None:
    text = run("sql", table, "--views").stdout
    with duckdb.connect() as connection, Dataset(table).sql() as ours:
        connection.execute(text)
        counts = connection.sql(COUNTS).fetchall()
        assert counts == ours.sql(COUNTS).fetchall()
        assert ("exchanges", 5) in counts


def test_files_without_a_column(tmp_path: Path) -> None:
    """Columns that are null in all rows are left out of files."""
    for number in range(2):
        record = CompletionRecord(http_status=200) if number else of_logprobs("a", token("a", -1.0))
        Dataset(tmp_path / "t").append([record])
    query = "select http_status, answer, request_seed from exchanges order by exchange"
    with Dataset(tmp_path / "t").sql() as connection:
        assert [(None, "a", None), (200, None, None)] == connection.sql(query).fetchall()


def test_a_repeated_label(tmp_path: Path) -> None:
    """Only bytes of somebody else can have one; the last one wins, as in Protobuf."""
    entries = [CompletionRecord(labels={"a": text}).SerializeToString() for text in "xyz"]
    Dataset(tmp_path / "t").append([b"".join(entries)])
    with Dataset(tmp_path / "t").sql() as connection:
        assert [({"a": "z"},)] == connection.sql("select labels from exchanges").fetchall()


@pytest.mark.parametrize(
    ("text", "complete"),
    [("select 1", False), ("select 1;", True), ("select 'a;", False), ("selct; ", True)],
)
def test_when_a_statement_is_complete(text: str, complete: bool) -> None:
    assert complete == is_complete(text)


def test_the_prompt(table: Path) -> None:
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("chatpb")), "sql", str(table)]
    environ = {**os.environ, "TERM": "dumb"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        os.write(
            ours, b"select count(*)\nas n from\nexchanges;\nselect modle;\n.tables\n.views\n.quit\n"
        )
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the end of the terminal
                break
            if not part:
                break
            shown += part
        assert 0 == process.wait(30)
    os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    assert "n\n-\n5\n(1 row)\n" in text
    assert 'sql: line 1, column 8: Referenced column "modle"' in text
    assert "sql: unknown command .tables; .help lists them\n" in text
    assert "errors: one row for each record that failed" in text


def test_an_interrupted_statement_does_not_end_the_prompt() -> None:
    """DuckDB reports SIGINT as a RuntimeError, which would end the prompt with a traceback."""
    connection = Mock(extract_statements=duckdb.extract_statements)
    connection.sql.side_effect = RuntimeError("Query interrupted")
    with pytest.raises(KeyboardInterrupt):
        list(run_sql(connection, "select 1"))


@pytest.mark.parametrize("name", ["a.xlsx", "a"])
def test_an_output_with_an_unknown_ending(name: str, table: Path, tmp_path: Path) -> None:
    """The file is not written: a table for people would be a surprise in it."""
    result = run("sql", table, "select 1", "-o", tmp_path / name)
    expected = (
        f"chatpb: error: {tmp_path / name}: the ending is none of .csv, .json, .jsonl, .ndjson,"
        " .parquet, .txt; pass --format table|csv|json|parquet\n"
    )
    assert (2, expected, False) == (
        result.exit_code,
        result.stderr,
        (tmp_path / name).exists(),
    )
    assert 0 == run("sql", table, "select 1 a", "-o", tmp_path / name, "--format=csv").exit_code
    assert "a\n1\n" == (tmp_path / name).read_text()
    assert 0 == run("sql", table, "select 1 a", "-o", tmp_path / "a.txt").exit_code
    assert "a\n-\n1\n(1 row)\n" == (tmp_path / "a.txt").read_text()
