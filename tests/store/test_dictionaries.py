"""Bodies are compressed by dictionaries, which have no text of a single conversation."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from chatpb import from_dict
from chatpb.store import Listing, Store, StoredCompletion, _learning
from chatpb.store._bodies import Bodies, Body, DamagedBodyError
from chatpb.store._sql import SqlStore
from chatpb.store._training import SHARED, trained, without_private_texts
from chatpb.v1 import ChatCompletion, CompletionRecord
from support.build import choice, completion, completion_request
from support.limits import within
from support.stored import opened, stored

PROMPT: Final = "You answer for a shop that sells chairs. Be short, and never promise a date. " * 4
SECRET: Final = "my account 4711-0815 was robbed by Mallory"


def chats(count: int, seed: int = 1) -> list[StoredCompletion]:
    """Chats with the same system prompt; one of them has a secret and goes on for half of all."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        question = SECRET if number % 2 else f"Is {chance.getrandbits(64):x} in stock?"
        request = completion_request(
            messages=[
                {"role": "system", "content": PROMPT},
                {"role": "user", "content": question},
                *({"role": "user", "content": f"turn {turn}"} for turn in range(number // 2 % 9)),
            ],
            metadata={"note": SECRET},
        )
        answer = completion(choice(f"{chance.getrandbits(64):x}: yes."), id=f"chatcmpl-{number}")
        record = CompletionRecord(request=request, completion=from_dict(answer, ChatCompletion))
        made.append(stored(f"c{number}", record=record.SerializeToString(deterministic=True)))
    return made


async def dictionary_of(store: Store) -> int | None:
    """The number of the newest dictionary, after what is going on."""
    assert isinstance(store, SqlStore)
    if store._learning._task is not None:
        await asyncio.wait([store._learning._task])
    return store._bodies.newest


async def test_dictionaries_are_made_and_old_rows_keep_theirs(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_learning, "FIRST", 64)
    monkeypatch.setattr(_learning, "_TIMES", 2)
    monkeypatch.setattr(_learning, "_EVERY", 16)
    made = chats(200)
    numbers = set()
    async with opened(url) as store:
        for each in made:
            await store.put("a", each)
            numbers.add(await within(dictionary_of(store)))
        assert {None, 1, 2} == numbers
        for each in made:
            assert each == await store.get("a", each.id)
        if url == "sqlite://":
            return
        async with opened(url) as other:  # it reads the dictionaries when it needs them
            assert 2 == await dictionary_of(other)
            page = await other.list("a", Listing(limit=200))
            assert made == [*page.completions]


def test_only_what_many_conversations_share_is_in_a_dictionary() -> None:
    records = [each.record for each in chats(400)]
    content = trained(records)
    assert content is not None
    assert PROMPT[-20:].encode() in content
    cleaned = b"".join(without_private_texts(records))
    for data in (content, cleaned):
        for start in range(len(SECRET) - 8):
            assert SECRET[start : start + 8].encode() not in data
    assert b"in stock?" not in cleaned
    few = records[: 2 * SHARED - 2 : 2]
    assert PROMPT[:20].encode() not in b"".join(without_private_texts(few))


def test_a_dictionary_pays() -> None:
    records = [each.record for each in chats(400)]
    content = trained(records)
    assert content is not None
    plain, bodies = Bodies(), Bodies()
    bodies.add(1, content)
    fresh = [each.record for each in chats(100, seed=2)]
    sizes = [sum(len(each.compress(record).data) for record in fresh) for each in (plain, bodies)]
    assert sizes[1] < 0.7 * sizes[0]
    for record in fresh:
        assert record == bodies.decompress(bodies.compress(record))


def test_no_dictionary_is_made_of_nothing() -> None:
    assert trained([]) is None
    assert trained([b"\xff", b""] * 20) is None


def test_a_damaged_body_is_an_error() -> None:
    bodies = Bodies()
    body = bodies.compress(b"abc" * 100)
    assert body.dictionary is None
    for damaged in (body.data[:-1], b"", b"no zstd"):
        with pytest.raises(DamagedBodyError):
            bodies.decompress(Body(None, damaged))
    with pytest.raises(DamagedBodyError, match="no dictionary 3"):
        bodies.decompress(Body(3, body.data))
