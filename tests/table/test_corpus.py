"""Every recorded response, stream and request comes back equal from a log and from a table."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chatpb
from chatpb import _record
from chatpb._cli.reading.input import open_source
from chatpb.log import LogWriter, read
from chatpb.table import Dataset, from_batch, to_batch
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRecord,
    ErrorResponse,
)
from support import recordings
from support.command_line import run
from support.equality import exact
from support.recordings import Recording

_KINDS = {
    recordings.completions: ChatCompletion,
    recordings.errors: ErrorResponse,
    recordings.streams: ChatCompletionChunk,
}


@functools.cache
def recorded(folder: Path) -> list[tuple[list[Any], bytes]]:
    """What each record has, as JSON values, and the record."""
    return list(_recorded(folder))


def _recorded(folder: Path) -> Iterator[tuple[list[Any], bytes]]:
    for function, kind in _KINDS.items():
        for recording in function(folder):
            texts = [*_requests(recording), *((kind, text) for text in recording.texts)]
            yield _made(texts)
    for _, text in recordings.requests(folder):
        yield _made([(ChatCompletionRequest, text)])


def _requests(recording: Recording) -> Iterator[tuple[Any, bytes]]:
    if recording.request is not None:
        yield ChatCompletionRequest, recording.request


def _made(texts: list[tuple[Any, bytes]]) -> tuple[list[Any], bytes]:
    values = [exact(text) for _, text in texts]
    messages = [(kind, chatpb.json_to_binary(text, kind)) for kind, text in texts]
    return values, _record.record_of(messages)


def values(data: bytes) -> list[Any]:
    """What a record has, as JSON values."""
    return [exact(chatpb.binary_to_json(m.data, m.type)) for m in _record.members(data)]


def frozen(value: Any) -> Any:
    """A JSON value in a form that can be counted."""
    if isinstance(value, dict):
        return frozenset((name, frozen(item)) for name, item in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def test_logs_and_tables_give_everything_back(corpus: Path, tmp_path: Path) -> None:
    expected, records = zip(*recorded(corpus), strict=True)
    assert len(expected) > 100

    log = tmp_path / "a.chatpb.zst"
    with LogWriter(log) as writer:
        for record in records:
            writer.append(record)
    assert list(expected) == [values(entry.data) for entry in read(log)]

    dataset = Dataset(tmp_path / "table")
    dataset.append(records)
    assert list(expected) == [values(data) for data in dataset.records()]
    assert [CompletionRecord.FromString(data) for data in records] == [
        CompletionRecord.FromString(data) for data in from_batch(to_batch(records))
    ]


@pytest.mark.parametrize("is_log", [False, True], ids=["json", "log"])
def test_compaction_gives_everything_back(is_log: bool, corpus: Path, tmp_path: Path) -> None:
    """The texts of all files, whichever record they are in, and however often they occur."""
    table = tmp_path / "table"
    source = corpus
    if is_log:
        source = tmp_path / "a.chatpb.zst"
        with LogWriter(source) as writer:
            for _, record in recorded(corpus):
                writer.append(record)
    result = run("compact", "--skip-damage", source, table)
    assert 0 == result.exit_code
    left_out = [line for line in result.stderr.splitlines() if ".stored.json" not in line]
    assert [] == left_out

    expected: Counter[Any] = Counter()
    for path in corpus.rglob("*"):
        is_read = path.suffix in (".json", ".jsonl", ".sse") and ".stored." not in path.name
        if is_read and not is_log:
            with open_source(str(path)) as opened:
                expected.update(frozen(exact(record.data)) for record in opened.records())
    if is_log:
        expected.update(frozen(value) for found, _ in recorded(corpus) for value in found)
    else:
        for path in corpus.rglob("*.stored.json"):
            page = json.loads(path.read_bytes())
            items = page["data"] if "choices" in str(page) else []
            expected.update(frozen(exact(json.dumps(item))) for item in items)
    got = Counter(frozen(value) for data in Dataset(table).records() for value in values(data))
    assert (Counter(), Counter()) == (expected - got, got - expected)
    assert "nothing new" == run("compact", "--skip-damage", source, table).stdout.splitlines()[0]
