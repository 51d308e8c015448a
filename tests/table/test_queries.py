"""The questions of docs/queries.md have the answers that plain Python finds in the records."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

import chatpb
from chatpb.table import SCHEMA, Dataset
from chatpb.table._sql.views import VIEWS, _bare, _types
from chatpb.v1 import CompletionRecord
from support.answers import ANSWERS, SCORES, Exchange, Rows
from support.command_line import run
from support.seeded import seeded

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "queries.md"
TEXT: Final = DOCUMENT.read_text("utf-8")
#: The language, the text, and the heading above, of each block.
BLOCKS: Final = [
    (block[1], block[2], re.findall(r"^#+ (.*)$", TEXT[: block.start()], re.MULTILINE)[-1])
    for block in re.finditer(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
]
SQL: Final = [(text, heading) for language, text, heading in BLOCKS if language == "sql"]
FIRST: Final = ANSWERS[:10]


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    return [Exchange(record) for record in seeded()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, exchanges: list[Exchange]) -> Path:
    """A directory with the table, in two commits, and the scores."""
    path = tmp_path_factory.mktemp("queries")
    for some in (exchanges[:40], exchanges[40:]):
        Dataset(path / "table").append(each.record for each in some)
    scores = "".join(f"{name},{score}\n" for name, score in SCORES.items())
    (path / "scores.csv").write_text(f"id,score\n{scores}")
    return path


def _plain(value: Any) -> Any:
    """A value of DuckDB, Polars or pandas as the answers have it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _same(expected: Any, actual: Any) -> bool:
    """Whether values are equal; numbers that come from float32 are about equal."""
    if isinstance(expected, list | tuple):
        same_length = isinstance(actual, list | tuple) and len(expected) == len(actual)
        return same_length and all(map(_same, expected, actual))
    if isinstance(expected, float):
        return actual is not None and math.isclose(expected, actual, rel_tol=1e-5, abs_tol=1e-6)
    if isinstance(expected, date) and not isinstance(expected, datetime):
        return str(expected) == str(actual)[:10]
    return bool(expected == actual)


def _check(expected: Rows, actual: Sequence[Any]) -> None:
    found = [_plain(tuple(row)) for row in actual]
    differing = [each for each in zip(expected, found, strict=False) if not _same(*each)]
    assert [] == differing
    assert len(expected) == len(found)
    assert expected


@pytest.fixture(scope="module")
def connection(folder: Path) -> Iterator[Any]:
    with Dataset(folder / "table").sql() as found:
        yield found


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        pytest.param(query, answer, id=answer.__name__)
        for (query, _), answer in zip(SQL, ANSWERS, strict=True)
    ],
)
def test_sql(
    query: str,
    answer: Any,
    folder: Path,
    connection: Any,
    exchanges: list[Exchange],
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(folder)
    _check(answer(exchanges), connection.sql(query).fetchall())


@pytest.mark.parametrize("library", ["Polars", "pandas"])
@pytest.mark.parametrize("number", range(10))
def test_the_first_ten(
    library: str, number: int, folder: Path, exchanges: list[Exchange], monkeypatch: Any
) -> None:
    """Each block, after the first one of its library, leaves a frame in `answer`."""
    monkeypatch.chdir(folder)
    blocks = [text for language, text, heading in BLOCKS if heading.endswith(library)]
    assert 11 == len(blocks)
    names: dict[str, Any] = {}
    exec(blocks[0] + blocks[number + 1], names)
    frame = names["answer"]
    rows = frame.rows() if library == "Polars" else list(frame.itertuples(index=False, name=None))
    _check(FIRST[number](exchanges), rows)


@pytest.mark.parametrize("library", ["Polars", "pandas"])
def test_the_first_ten_of_a_plain_chat(library: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Its file has few columns: no labels, tokens, chunks, errors and parts of messages."""
    monkeypatch.chdir(tmp_path)
    completion = {
        "model": "gpt-4.1",
        "choices": [{"index": 0, "message": {"content": "A refund."}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000},
    }
    record = CompletionRecord(completion=chatpb.from_dict(completion), call_id="a", duration_us=9)
    Dataset("table").append([record])
    first, *blocks = (text for language, text, heading in BLOCKS if heading.endswith(library))
    with Dataset("table").sql() as connection:
        for number, (block, (query, _)) in enumerate(zip(blocks, SQL, strict=False), 1):
            names: dict[str, Any] = {}
            exec(first + block, names)
            frame = names["answer"]
            rows = frame.rows() if library == "Polars" else list(frame.itertuples(index=False))
            expected = connection.sql(query).fetchall()
            assert (number, len(expected)) == (number, len(rows))
            assert all(map(_same, expected, [_plain(tuple(row)) for row in rows]))


def test_types_have_the_names_that_duckdb_gives_them() -> None:
    with duckdb.connect() as connection:
        connection.register("_rows", SCHEMA.empty_table())
        described = connection.execute("DESCRIBE _rows").fetchall()
    own = {name: _bare(kind) for name, kind in _types().items()}
    assert own == {name: _bare(kind) for name, kind, *_ in described}


def test_the_views_have_the_columns_that_the_page_names(connection: Any) -> None:
    there = {
        view: {row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()}
        for view in VIEWS
    }
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", TEXT, re.MULTILINE)
    assert sorted(VIEWS) == sorted(view for view, _ in rows)
    shared = re.findall(r"^All of them have (.*)\.$", TEXT, re.MULTILINE)
    for view, named in rows:
        wanted = set(re.findall(r"`(\w+)`", named + shared[0]))
        assert set() == wanted - there[view]
        if view != "exchanges":
            assert set() == there[view] - wanted
    left_out = {"record", "logprobs_counts", "logprobs_corrections", "request_stops"}
    assert set(SCHEMA.names) - left_out == set(SCHEMA.names) & there["exchanges"]


def test_a_version_before(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    (block,) = (text for language, text, heading in BLOCKS if heading.startswith("20."))
    command = re.sub(r"^chatpb sql ", "", block.strip())
    words = re.findall(r'"[^"]*"|\S+', command)
    result = run("sql", *(word.strip('"') for word in words), "--format", "csv")
    assert ("", 0) == (result.stderr, result.exit_code)
    assert ["added", "20"] == result.stdout.split()


#: What the other blocks print, by the start of their text.
PRINTED: Final = {
    'chatpb sql table "select model, count(*)': "model         calls  tokens\n",
    "from chatpb.table import Dataset": "[('gpt-4.1', 27), ('gpt-4.1-mini', 27)",
    "import json": "The blue ones are.\nYes: a refund takes five days.\n",
    'chatpb grep --count "model': "14\n",
    'chatpb grep --count "says': "24\n",
    "chatpb export": '{"messages":',
    "from deltalake": "60\n",
    'chatpb sql table "select call_id, count(*)': "call_id  times\n-------  -----\n(0 rows)\n",
    'chatpb delete table "start_time': "8 records deleted from 1 file\n",
    'chatpb delete table "request_user': "8 records deleted from 2 files\n",
}


def test_the_other_blocks(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    """In their order; the last ones delete."""
    monkeypatch.chdir(folder)
    special = ("Polars", "pandas", "Hugging Face datasets", "ClickHouse")
    waiting = dict(PRINTED)
    for language, text, heading in BLOCKS:
        if language == "sql" or heading.endswith(special) or heading.startswith("20."):
            continue
        if text == "chatpb compact logs/ table\n":
            continue  # the fixture makes the table
        (start,) = (each for each in waiting if text.startswith(each))
        if language == "python":
            exec(text, {})
            printed = capsys.readouterr().out
        else:
            words = shlex.split(text)
            assert "chatpb" == words[0]
            result = run(*words[1:])
            assert ("", 0) == (result.stderr, result.exit_code)
            printed = result.stdout
        assert waiting.pop(start) in printed
    assert {} == waiting
