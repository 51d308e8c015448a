"""Dictionaries: what many records have in common.

A dictionary outlives the records that it was made of, so it must not have what one person asked or
was answered. It has the texts that many conversations share, such as the system prompts and the
tools of a service. Each other text is replaced by random letters, as frequent as they are in all
texts together: so that the statistics of the dictionary, which have no order, fit texts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final

import zstandard
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from chatpb.v1 import CompletionRecord

_BYTES: Final = 64 << 10  # of a dictionary; twice as many save 1% more
#: In how many conversations a text must be.
SHARED: Final = 16
_LETTERS: Final = 1 << 16
_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def trained(records: Sequence[bytes]) -> bytes | None:
    """A dictionary for records such as these; None if they have too little in common."""
    samples: list[bytes | bytearray | memoryview[int]] = [*without_private_texts(records)]
    try:
        return zstandard.train_dictionary(_BYTES, samples).as_bytes()
    except zstandard.ZstdError:  # too few or too short
        return None


def without_private_texts(records: Sequence[bytes]) -> list[bytes]:
    """Records whose texts are random, except those that many conversations share."""
    parsed = [each for record in records if (each := _parsed(record)) is not None]
    conversations: dict[str | bytes, set[int]] = {}
    letters: Counter[str] = Counter()
    for record in parsed:
        # The turns of a conversation repeat its texts, and begin with the same messages.
        begin = [each.SerializeToString(deterministic=True) for each in record.request.messages[:2]]
        conversation = hash(tuple(begin))
        for text in _texts(record):
            conversations.setdefault(text, set()).add(conversation)
            if isinstance(text, str):
                letters.update(text)
    shared = {text for text, those in conversations.items() if len(those) >= SHARED}
    chance = random.Random(len(parsed))
    pool = chance.choices([*letters], [*letters.values()], k=_LETTERS) if letters else []
    for record in parsed:
        _replace(record, shared, pool, chance)
    return [record.SerializeToString(deterministic=True) for record in parsed]


def _parsed(data: bytes) -> CompletionRecord | None:
    try:
        record = CompletionRecord.FromString(data)
    except DecodeError:
        return None
    record.DiscardUnknownFields()
    return record


def _texts(message: Message) -> Iterator[str | bytes]:
    """All texts of a message and of those in it."""
    for field, value in message.ListFields():
        if _is_map(field):  # such as metadata: left out as a whole
            continue
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            for each in values:
                yield from _texts(each)
        elif field.type in _TEXTS:
            yield from values


def _replace(
    message: Message, shared: Set[str | bytes], pool: Sequence[str], chance: random.Random
) -> None:
    """Replaces the texts that are not shared."""
    for field, value in message.ListFields():
        if _is_map(field):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                _replace(each, shared, pool, chance)
        elif field.type in _TEXTS:
            given = [value] if not field.is_repeated else [*value]
            new = [each if each in shared else _random(each, pool, chance) for each in given]
            if field.is_repeated:
                value[:] = new
            else:
                setattr(message, field.name, new[0])


def _random(text: str | bytes, pool: Sequence[str], chance: random.Random) -> Any:
    """Another text of the same length."""
    if isinstance(text, bytes):
        return chance.randbytes(len(text))
    return "".join(chance.choices(pool, k=len(text)))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
