"""The ids of tokens and lists of them: what a column has, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet
import pytest

from chatpb import fold
from chatpb._wire import embedded
from chatpb.table import Dataset, from_batch, to_batch
from chatpb.table._rows.columns import SCHEMA, TOKENS_COLUMN
from chatpb.table._rows.plan import shredder
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionTokenLogprob,
    ChoiceLogprobs,
    CompletionRecord,
    Residue,
    TopLogprob,
)
from support.table_rows import alternative, of_logprobs, of_tokens, serialized, token

FOLLOWING = [
    token("a", -1.0, alternative("b", -2.0, id=2), alternative("a", -1.0, id=1), id=1),
    token("b", -1.0, alternative("b", -1.0, id=2), alternative("a", -2.0, id=1), id=2),
]


@pytest.fixture(params=["native", "reference"], autouse=True)
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "reference":
        monkeypatch.setattr("chatpb.table._rows.batches.shredder", lambda: None)
    elif shredder() is None:
        pytest.skip("the native implementation is not in use")


def ids(batch: pa.RecordBatch) -> list[list[tuple[Any, ...]]]:
    """For each record and token: its id, those of its alternatives in the column, its rank."""
    return [
        [(t["id"], [each["id"] for each in t["top_logprobs"] or ()], t["rank"]) for t in row or ()]
        for row in batch.column(TOKENS_COLUMN).to_pylist()
    ]


def rests(batch: pa.RecordBatch) -> list[bytes | None]:
    """The other fields of each token, and after it of its alternatives."""
    return [
        each["rest"]
        for row in batch.column(TOKENS_COLUMN).to_pylist()
        for t in row or ()
        for each in (t, *(t["top_logprobs"] or ()))
    ]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param([], [], id="no tokens"),
        pytest.param([token("a", -1.0), token("a", -1.0)], [(None, [], None)] * 2, id="no ids"),
        pytest.param(FOLLOWING, [(1, [2], 1), (None, [None], 0)], id="that follow, and a rank"),
        pytest.param(
            [token("a", -1.0, id=number) for number in (1, 1, 2, 2, 1)],
            [(said, [], None) for said in (1, None, 2, None, 1)],
            id="that change",
        ),
        pytest.param(
            [token("a", -1.0, alternative("a", -1.0, id=2), id=1), token("a", -1.0, id=2)],
            [(1, [2], None), (None, [], None)],
            id="of an alternative with the same text",
        ),
        pytest.param(
            [token("a", -1.0, alternative("a", -2.0, id=2), alternative("a", -1.0, id=1), id=1)],
            [(1, [2], 1)],
            id="a rank after it",
        ),
        pytest.param(
            [
                token("?", -1.0, data=data, id=number)
                for data, number in ((b"\xc3", 1), (b"?", 2), (b"\xc3", 1), (b"", 3))
            ],
            [(said, [], None) for said in (1, 2, None, 3)],
            id="of other bytes",
        ),
        pytest.param(
            [token("a", -1.0), token("b", -1.0, id=0), token("a", -1.0, id=-(2**31))],
            [(said, [], None) for said in (None, 0, -(2**31))],
            id="missing at first",
        ),
    ],
)
def test_id_that_follows_is_null(
    tokens: list[dict[str, Any]], expected: list[tuple[Any, ...]]
) -> None:
    data = [serialized(of_logprobs("x", *tokens))]
    batch = to_batch(data)
    assert [expected] == ids(batch)
    assert {None} >= set(rests(batch))
    assert data == from_batch(batch)


@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param([token("a", -1.0, id=1), token("a", -1.0)], id="a token"),
        pytest.param([token("a", -1.0, alternative("a", -1.0), id=1)], id="an alternative"),
        pytest.param([*FOLLOWING, token("b", -1.0), *FOLLOWING], id="in the middle"),
    ],
)
def test_ids_of_a_record_stay_together(tokens: list[dict[str, Any]]) -> None:
    """If an id is missing where null would be read as one, no id of the record is in the column."""
    others = serialized(of_logprobs("x", *FOLLOWING))
    data = [others, serialized(of_logprobs("x", *tokens)), others]
    batch = to_batch(data)
    before, given, after = ids(batch)
    assert before == after == [(1, [2], 1), (None, [None], 0)]
    assert {None} == {each for own, rest, _ in given for each in (own, *rest)}
    in_rest = [ChatCompletionTokenLogprob.FromString(rest) for rest in rests(batch) if rest]
    assert {1, 2} >= {each.id for each in in_rest} >= {1}
    assert data == from_batch(batch)


def test_ids_follow_within_a_record() -> None:
    """Over all its choices, in the order of the record; not from one record to the next."""
    record = of_logprobs("x", *FOLLOWING)
    record.completion.choices.append(record.completion.choices[0])
    data = [serialized(record), serialized(of_tokens(record.completion.choices[0].logprobs))]
    batch = to_batch(data)
    first = [(1, [2], 1), (None, [None], 0)]
    following = [(None, [None], 1), (None, [None], 0)]
    assert [first + following, first + following] == ids(batch)
    assert data == from_batch(batch)


def test_other_fields_keep_their_order() -> None:
    """Ids that stay in the rest are where a serializer puts them."""
    number = ChatCompletionTokenLogprob(id=7).SerializeToString()
    unknown = b"\xa0\x1f\x05"
    residue = TopLogprob(residue=Residue(extra_json='{"x":1}')).SerializeToString()
    text = b"\x0a\x01a"
    record = of_tokens(ChoiceLogprobs())
    for each in (text + number + residue + unknown, text + residue + unknown):
        record.completion.choices[0].logprobs.content.add().MergeFromString(each)
    data = [serialized(record)]
    batch = to_batch(data)
    assert [number + residue + unknown, residue + unknown] == rests(batch)
    assert data == from_batch(batch)


def test_lists_of_token_ids() -> None:
    """A list for each choice, null where it has none; for chunks too, and for what they make."""
    record = of_logprobs("x")
    record.completion.choices[0].token_ids.extend([1, -2, 2**31 - 1])
    record.completion.choices.add(index=1)
    without = of_logprobs("x")
    chunks = CompletionRecord()
    for number in (5, 6):
        choice = chunks.chunks.add(id="a").choices.add(token_ids=[number, number])
        choice.delta.content = "x"
        chunks.chunks.add(id="a").choices.add()
    data = [serialized(each) for each in (without, record, chunks, without)]
    batch = to_batch(data)
    folded = list(fold(chunks.chunks).choices[0].token_ids)
    assert [5, 5, 6, 6] == folded
    of_choices = [
        [message["token_ids"] for message in row] for row in batch.column("messages").to_pylist()
    ]
    assert [[None], [[1, -2, 2**31 - 1], None], [folded], [None]] == of_choices
    of_chunks = [
        [choice["token_ids"] for chunk in row or () for choice in chunk["choices"]]
        for row in batch.column("chunks").to_pylist()
    ]
    assert [[], [], [[5, 5], None, [6, 6], None], []] == of_chunks
    assert data == from_batch(batch)
    assert data[1:3] == from_batch(batch[1:3])


def test_list_of_no_token_ids_is_null() -> None:
    """Also in a form that no serializer writes: a packed list without elements."""
    choice = embedded(ChatCompletion.CHOICES_FIELD_NUMBER, [b"\xa2\x06\x00"])
    data = embedded(CompletionRecord.COMPLETION_FIELD_NUMBER, [choice])
    batch = to_batch([data])
    ((message,),) = batch.column("messages").to_pylist()
    assert message["token_ids"] is None
    assert [serialized(CompletionRecord.FromString(data))] == from_batch(batch)


def test_files_without_the_column_are_read(tmp_path: Path) -> None:
    """In a file that was written before there was a column of ids, they are in the rest."""
    data = [serialized(of_logprobs("x", token("a", -1.0, id=1), token("a", -1.0)))]
    table = pa.Table.from_batches([to_batch(data)])
    kind = _without_ids(SCHEMA.field(TOKENS_COLUMN).type)
    tokens = pa.array(table.column(TOKENS_COLUMN).to_pylist(), kind)
    place = SCHEMA.get_field_index(TOKENS_COLUMN)
    old = table.set_column(place, TOKENS_COLUMN, tokens).drop_columns(["request_tools"])
    (tmp_path / "table").mkdir()
    pa.parquet.write_table(old, tmp_path / "table" / "a.parquet", store_schema=False)
    deltalake.convert_to_deltalake(tmp_path / "table")
    dataset = Dataset(tmp_path / "table")
    assert data == list(dataset.records())
    dataset.append(data)
    assert data * 2 == list(dataset.records())


def _without_ids(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_without_ids(kind.value_type))
    if pa.types.is_struct(kind):
        kept = [pa.field(f.name, _without_ids(f.type)) for f in kind if f.name != "id"]
        return pa.struct(kept)
    return kind
