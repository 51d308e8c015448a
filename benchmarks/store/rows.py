"""What is stored: small chats, as `StoredCompletion` and as the JSON of the same exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from chatpb import from_dict
from chatpb.store import StoredCompletion
from chatpb.v1 import ChatCompletion, ChatCompletionRequest, CompletionRecord
from storage.exchanges import COUNT, exchanges

#: As a relay's records have them.
_DURATION_US: Final = 1_234_567


class Row(NamedTuple):
    """An exchange.

    Attributes:
        completion: As a relay stores it.
        json: Its request and its completion in one JSON object.
    """

    completion: StoredCompletion
    json: bytes


def rows(count: int) -> Iterator[Row]:
    """Exchanges of conversations that go on at the same time, those that failed left out."""
    number = 0
    for each in exchanges(2 * count / COUNT):
        if "error" in each["response"]:
            continue
        number += 1
        if number > count:
            return
        answer = each["response"] | {"id": f"{each['response']['id']}-{number}"}
        metadata = {"team": f"team-{number % 20}"}
        request = each["request"] | {"store": True, "metadata": metadata}
        record = CompletionRecord(
            request=from_dict(request, ChatCompletionRequest),
            completion=from_dict(answer, ChatCompletion),
            start_time_unix_us=1_800_000_000_000_000 + number * 1_000,
            duration_us=_DURATION_US + number,
            caller="alice",
            upstream="openai",
            status=0,
            http_status=200,
            call_id=f"{number:016x}",
        )
        data = record.SerializeToString(deterministic=True)
        stored = StoredCompletion(answer["id"], answer["model"], answer["created"], metadata, data)
        exchange = {"request": request, "response": answer}
        yield Row(stored, json.dumps(exchange, ensure_ascii=False, separators=(",", ":")).encode())
