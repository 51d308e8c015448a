"""Exchanges of a service with its users: requests with their history, and what was answered."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any, Final

from common.documents import SEED, text
from storage.prose import Prose
from storage.traffic import Traffic

COUNT: Final = 40_000
#: In the question of one exchange, and the history of those that follow it.
PHRASE: Final = "the quick brown capybara"
#: How many conversations go on at the same time. It decides how far away the text is that comes
#: again: with 1,500, chatpb's first table was 1.17 times as large as zstd -19, as with a service's.
AT_ONCE: Final = 1_500
_PROMPTS: Final = 24
_KITS: Final = 6
_TURNS: Final = (1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10)
_USERS: Final = 2_000
_ERRORS: Final = (
    (429, "Rate limit reached for requests", "requests", "rate_limit_exceeded"),
    (500, "The server had an error while processing your request", "server_error", None),
    (400, "This model's maximum context length is 128000 tokens", "invalid_request_error", "long"),
)
_TOOLS: Final = (
    ("search_documents", {"query": "string", "limit": "integer"}),
    ("get_weather", {"city": "string", "days": "integer"}),
    ("run_query", {"sql": "string", "timeout": "integer"}),
    ("send_message", {"to": "string", "subject": "string", "body": "string"}),
    ("create_event", {"title": "string", "start": "string", "minutes": "integer"}),
    ("read_file", {"path": "string", "offset": "integer"}),
)


class _Conversation:
    """A conversation that goes on.

    Attributes:
        request: The members of each of its requests, with the messages up to now.
    """

    def __init__(self, service: _Service) -> None:
        self._service, rng = service, service.rng
        self._turns = rng.choice(_TURNS)
        self._result: str | None = None  # the tool call that waits for its result
        self.request: dict[str, Any] = {
            "model": "",
            "messages": [{"role": "system", "content": rng.choice(service.prompts)}],
        }
        if rng.random() < 0.5:
            self.request["temperature"] = rng.choice((0, 0.2, 0.7, 1))
        if rng.random() < 0.3:
            self.request["max_completion_tokens"] = rng.choice((256, 512, 1_024, 4_096))
        if rng.random() < 0.25:
            self.request["tools"] = rng.choice(service.kits)
        if rng.random() < 0.6:
            self.request["user"] = f"user-{int(rng.random() ** 2 * _USERS)}"

    def exchange(self) -> dict[str, Any]:
        """The next request, and what is answered."""
        rng, service, messages = self._service.rng, self._service, self.request["messages"]
        if self._result is None:
            question = service.prose.text(round(rng.lognormvariate(math.log(90), 0.8)))
            messages.append({"role": "user", "content": question})
            self._turns -= 1
        else:
            result = json.dumps({"status": "ok", "result": service.prose.text(60)})
            messages.append({"role": "tool", "tool_call_id": self._result, "content": result})
        request = self.request | {"messages": list(messages)}
        if rng.random() < 0.02:
            request["model"] = service.traffic.answer("", 0)["model"]
            self._turns, self._result = 0, None
            return {"request": request, "response": {"error": _error(rng)}}
        if self._result is None and "tools" in self.request and rng.random() < 0.5:
            answer = self._calls()
        else:
            content = service.prose.text(round(rng.lognormvariate(math.log(260), 0.8)))
            answer = self._answer(content, len(content))
            self._result = None
        request["model"] = answer["model"].rpartition("-20")[0]
        message = answer["choices"][0]["message"]
        said = {key: message[key] for key in ("role", "content", "tool_calls") if key in message}
        messages.append(said)
        return {"request": request, "response": answer}

    def _calls(self) -> dict[str, Any]:
        service, tool = self._service, self._service.rng.choice(self.request["tools"])["function"]
        members = {
            name: service.prose.text(30) if each["type"] == "string" else service.rng.randint(1, 99)
            for name, each in tool["parameters"]["properties"].items()
        }
        self._result = service.traffic.name("call_", 24)
        function = {"name": tool["name"], "arguments": json.dumps(members)}
        answer = self._answer(None, len(function["arguments"]))
        calls = [{"id": self._result, "type": "function", "function": function}]
        answer["choices"][0]["message"]["tool_calls"] = calls
        answer["choices"][0]["finish_reason"] = "tool_calls"
        return answer

    def _answer(self, content: str | None, characters: int) -> dict[str, Any]:
        answer = self._service.traffic.answer(content, characters // 4 + 1)
        asked = sum(len(each["content"] or "") for each in self.request["messages"]) // 4 + 8
        usage = answer["usage"]
        usage["total_tokens"] += asked - usage["prompt_tokens"]
        usage["prompt_tokens"] = asked
        usage["prompt_tokens_details"]["cached_tokens"] = asked // 128 * 128 if asked > 1024 else 0
        return answer

    @property
    def is_over(self) -> bool:
        """Whether nothing more is asked."""
        return self._turns <= 0 and self._result is None


class _Service:
    """What all conversations share."""

    def __init__(self, share: float) -> None:
        self.rng = random.Random(SEED + 2)
        self.prose = Prose(self.rng, share)
        self.traffic = Traffic(self.rng, can_reason=True)
        self.prompts = [self.prose.text(self.rng.randint(200, 1_600)) for _ in range(_PROMPTS)]
        self.kits = [
            [self._tool(*each) for each in self.rng.sample(_TOOLS, self.rng.randint(1, 4))]
            for _ in range(_KITS)
        ]

    def _tool(self, name: str, members: dict[str, str]) -> dict[str, Any]:
        properties = {
            member: {"type": kind, "description": self.prose.text(40)}
            for member, kind in members.items()
        }
        schema = {"type": "object", "properties": properties, "required": list(members)}
        function = {"name": name, "description": self.prose.text(80), "parameters": schema}
        return {"type": "function", "function": function}


def exchanges(share: float = 1, at_once: int = AT_ONCE) -> Iterator[dict[str, Any]]:
    """So many exchanges of conversations that go on at the same time.

    What is answered is in the next request of the conversation; some answers are tool calls, whose
    results are in the next request too; some calls fail.

    Args:
        share: How much of their usual number.
        at_once: How many conversations go on at the same time.
    """
    service = _Service(share)
    going: list[_Conversation] = []
    count = round(COUNT * share)
    for number in range(count):
        if len(going) < at_once:
            going.append(_Conversation(service))
        at = service.rng.randrange(len(going))
        exchange = going[at].exchange()
        if number == count // 3:
            exchange["request"]["messages"][-1] |= {"content": f"Who saw {PHRASE} today?"}
        yield exchange
        if going[at].is_over:
            going[at] = _Conversation(service)


def lines(share: float = 1, at_once: int = AT_ONCE) -> Iterator[bytes]:
    """Objects with the request and the response of each exchange."""
    yield from map(text, exchanges(share, at_once))


def answers(share: float = 1) -> Iterator[bytes]:
    """Their answers alone."""
    for each in exchanges(share):
        if "error" not in each["response"]:
            yield text(each["response"])


def _error(rng: random.Random) -> dict[str, Any]:
    _, message, kind, code = rng.choice(_ERRORS)
    return {"message": message, "type": kind, "param": None, "code": code}
