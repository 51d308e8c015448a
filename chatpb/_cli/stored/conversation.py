"""The conversation of an exchange, as programs that train models take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

import chatpb
from chatpb._errors import ConversionError
from chatpb._mapping.text import parse
from chatpb._record import Member, split
from chatpb.v1 import CompletionRecord, RecordKept

Tree = dict[str, Any]

_ANSWER: Final = ("role", "content", "refusal", "tool_calls", "function_call")
_REASONING: Final = ("reasoning_content", "reasoning")
_ENDED: Final = ("stop", "tool_calls", "function_call")

_FIELDS: Final = CompletionRecord.DESCRIPTOR.fields_by_number
_REQUEST: Final = _FIELDS[CompletionRecord.REQUEST_FIELD_NUMBER].name
_COMPLETION: Final = _FIELDS[CompletionRecord.COMPLETION_FIELD_NUMBER].name
_CHUNKS: Final = _FIELDS[CompletionRecord.CHUNKS_FIELD_NUMBER].name

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

    def conversations(self, given: list[bytes]) -> Iterator[Conversation]:
        """The conversations of a record; what is left out is counted.

        Args:
            given: The record, in binary form. It is taken out, as it may take most of the memory.

        Raises:
            ConversionError: It has no JSON form.
        """
        try:
            parts = Parts(given.pop())
            parts.check_contents()
            request, completion = parts.trees(self.allow_nan)
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


class Parts:
    """A record, whose messages become JSON without being parsed. They are forgotten as they do.

    Attributes:
        rest: The record without its messages.

    Args:
        data: The record, in binary form.

    Raises:
        ConversionError: It is not a record.
    """

    def __init__(self, data: bytes) -> None:
        found, self.rest = split(data)
        self._found: dict[str, list[Member]] = {}
        for member in found:
            self._found.setdefault(member.field, []).append(member)

    def check_contents(self) -> None:
        """Refuses a record without contents.

        Raises:
            UnfitError: It was kept without them.
        """
        if self.rest.kept == RecordKept.RECORD_KEPT_METADATA:
            raise UnfitError("kept without contents")

    def id(self) -> str:
        """The identifier of the completion, or of its first chunk; empty if there is none."""
        for name in (_COMPLETION, _CHUNKS):
            for member in self._found.get(name, [])[:1]:
                if found := _message(member).id:
                    return str(found)
        return ""

    def request(self, allow_nan: bool) -> Tree | None:
        """The request as a tree of JSON, once.

        Raises:
            ConversionError: It has no JSON form.
        """
        texts = self._texts(_REQUEST, allow_nan)
        self._found.clear()
        return _parsed(texts, allow_nan)

    def trees(self, allow_nan: bool) -> tuple[Tree | None, Tree | None]:
        """The request and the completion as trees of JSON, once.

        Raises:
            ConversionError: One has no JSON form.
        """
        request = self._texts(_REQUEST, allow_nan)
        completion = self._texts(_COMPLETION, allow_nan)
        chunks = self._found.get(_CHUNKS, [])
        if chunks and not completion:
            parsed = map(_message, chunks)
            completion = [chatpb.to_json(chatpb.fold(parsed), allow_nan=allow_nan)]
        del chunks
        self._found.clear()
        return _parsed(request, allow_nan), _parsed(completion, allow_nan)

    def _texts(self, name: str, allow_nan: bool) -> list[bytes]:
        return [each.json(allow_nan=allow_nan) for each in self._found.get(name, [])]


def _message(member: Member) -> Any:
    try:
        return member.type.FromString(member.data)
    except DecodeError as error:
        raise ConversionError(f"{member.field}: {error}") from None


def _parsed(texts: list[bytes], allow_nan: bool) -> Tree | None:
    """The tree of the only text of a list, which is taken out."""
    if not texts:
        return None
    tree: Tree = parse(texts.pop(), allow_nan=allow_nan)
    return tree
