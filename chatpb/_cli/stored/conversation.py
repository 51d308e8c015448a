"""The conversation of an exchange, as programs that train models take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

import chatpb
from chatpb._mapping.text import parse
from chatpb.v1 import CompletionRecord, RecordKept

Tree = dict[str, Any]

_ANSWER: Final = ("role", "content", "refusal", "tool_calls", "function_call")
_REASONING: Final = ("reasoning_content", "reasoning")
_ENDED: Final = ("stop", "tool_calls", "function_call")

NO_RESPONSE: Final = "without a response"
NO_REQUEST: Final = "without a request"


class UnfitError(Exception):
    """A record, or an answer, that does not fit a form; the text is the reason."""


class Conversation(NamedTuple):
    """A request and an answer to it.

    Attributes:
        request: The request, as a tree of JSON.
        messages: The messages of the request, and the answer at the end.
        choice: The index of the answer in the completion.
    """

    request: Tree
    messages: list[Any]
    choice: int


@dataclass
class Chosen:
    """Which records and answers are exported, and how many were not.

    Attributes:
        allow_nan: As for `chatpb.to_json`.
        all_choices: Whether every choice of a completion is exported, rather than the first.
        cut_off: Whether answers are exported that did not come to their end.
        with_reasoning: Whether answers have their reasoning.
        left_out: How many were left out, by reason.
        written: How many were exported.
    """

    allow_nan: bool = False
    all_choices: bool = False
    cut_off: bool = False
    with_reasoning: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    written: int = 0

    def conversations(self, data: bytes) -> Iterator[Conversation]:
        """The conversations of a record; what is left out is counted.

        Args:
            data: The record, in binary form.

        Raises:
            ConversionError: It has no JSON form.
        """
        try:
            record = CompletionRecord.FromString(data)
            check_contents(record)
            request, completion = trees(record, self.allow_nan)
            if completion is None:
                raise UnfitError(NO_RESPONSE)
            if request is None or not isinstance(request.get("messages"), list):
                raise UnfitError(NO_REQUEST)
            choices = completion.get("choices")
            if not isinstance(choices, list) or not choices:
                raise UnfitError("without a choice")
        except UnfitError as unfit:
            self.left_out[str(unfit)] += 1
            return
        for place, choice in enumerate(choices if self.all_choices else choices[:1]):
            try:
                answer = self._answer(choice)
            except UnfitError as unfit:
                self.left_out[str(unfit)] += 1
            else:
                index = choice.get("index")
                messages = [*request["messages"], answer]
                yield Conversation(request, messages, index if type(index) is int else place)

    def _answer(self, choice: Any) -> Tree:
        message = choice.get("message") if isinstance(choice, dict) else None
        ended = isinstance(message, dict) and choice.get("finish_reason") in _ENDED
        if not isinstance(message, dict) or not (ended or self.cut_off):
            raise UnfitError("whose answer did not come to its end")
        names = (*_ANSWER, *_REASONING) if self.with_reasoning else _ANSWER
        answer = {name: message[name] for name in names if message.get(name) not in (None, [])}
        if not answer.keys() - {"role", *_REASONING}:
            raise UnfitError("whose answer is empty")
        return {"role": "assistant", **answer}


def check_contents(record: CompletionRecord) -> None:
    """Refuses a record without contents.

    Raises:
        UnfitError: It was kept without them.
    """
    if record.kept == RecordKept.RECORD_KEPT_METADATA:
        raise UnfitError("kept without contents")


def trees(record: CompletionRecord, allow_nan: bool) -> tuple[Tree | None, Tree | None]:
    """The request and the completion of a record as trees of JSON.

    Raises:
        ConversionError: One has no JSON form.
    """
    request = tree(record.request, allow_nan) if record.HasField("request") else None
    if record.HasField("completion"):
        return request, tree(record.completion, allow_nan)
    chunks = record.chunks
    return request, tree(chatpb.fold(chunks), allow_nan) if chunks else None


def tree(message: Message, allow_nan: bool) -> Tree:
    """A message as a tree of JSON.

    Raises:
        ConversionError: It has no JSON form.
    """
    found: Tree = parse(chatpb.to_json(message, allow_nan=allow_nan), allow_nan=allow_nan)
    return found
