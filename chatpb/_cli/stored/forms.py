"""The forms in which records are exported as lines of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from chatpb._cli.failure import at
from chatpb._cli.reading.exchange import BODY, CUSTOM_ID, ENDPOINT, METHOD, URL
from chatpb._cli.stored.conversation import (
    NO_REQUEST,
    NO_RESPONSE,
    Chosen,
    Parts,
    Tree,
    UnfitError,
)
from chatpb._cli.stored.printing import Printer, What
from chatpb._errors import ConversionError
from chatpb._mapping.text import dump, dump_bytes

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored

_PAGE: Final = 100  # completions on a page, the most that OpenAI's API gives
# The members that OpenAI's guide to fine-tuning lists for an example, in addition to its messages.
_EXAMPLE: Final = ("tools", "parallel_tool_calls", "functions")
# The members of the request that api.openai.com repeats in a stored completion.
_STORED: Final = (
    "tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty", "tools",
    "response_format",
)  # fmt: skip
_STREAMING: Final = ("stream", "stream_options")  # batches have none
_LONGEST_ID: Final = 512


class Form(StrEnum):
    """What is written."""

    RECORDS = "records"
    RESPONSES = "responses"
    MESSAGES = "messages"
    FINE_TUNING = "fine-tuning"
    STORED = "stored"
    BATCH = "batch"


def lines(found: Iterable[Stored], form: Form, chosen: Chosen) -> Iterator[bytes]:
    """Records in a form that is not `Form.MESSAGES`, as JSON texts of one line each.

    Args:
        found: The records.
        form: The form.
        chosen: Which of them; what is left out is counted there.

    Raises:
        CliError: A record has no JSON form.
    """
    return _FORMS[form](found, chosen)


def _records(found: Iterable[Stored], chosen: Chosen) -> Iterator[bytes]:
    return _printed(found, chosen, What.RECORD)


def _responses(found: Iterable[Stored], chosen: Chosen) -> Iterator[bytes]:
    return _printed(found, chosen, What.RESPONSE)


def _printed(found: Iterable[Stored], chosen: Chosen, what: What) -> Iterator[bytes]:
    printer = Printer(what, allow_nan=chosen.allow_nan)
    for data, place in found:
        texts = list(printer.texts(data, place))
        chosen.left_out.update([NO_RESPONSE] if not texts else [])
        chosen.written += len(texts)
        yield from texts


def _fine_tuning(found: Iterable[Stored], chosen: Chosen) -> Iterator[bytes]:
    for place, given in _given(found):
        try:
            for request, messages, _ in chosen.conversations(given):
                rest = {name: request[name] for name in _EXAMPLE if request.get(name) is not None}
                chosen.written += 1
                yield _text({"messages": messages, **rest}, chosen)
        except ConversionError as error:
            raise at(place, error) from None


def _stored(found: Iterable[Stored], chosen: Chosen) -> Iterator[bytes]:
    page: list[Tree] = []
    for item in _each(found, chosen, _stored_completion):
        if len(page) == _PAGE:
            yield _text(_list(page, has_more=True), chosen)
            page = []
        page.append(item)
    yield _text(_list(page, has_more=False), chosen)


def _stored_completion(record: Parts, chosen: Chosen) -> Tree:
    request, completion = record.trees(chosen.allow_nan)
    if completion is None:
        raise UnfitError(NO_RESPONSE)
    if not isinstance(completion.get("id"), str):
        raise UnfitError("without an id")
    members: Tree = {"metadata": {}}
    if request is not None:
        members |= {name: request.get(name) for name in _STORED}
        members |= {"input_user": request.get("user"), "metadata": request.get("metadata") or {}}
    return members | completion


def _list(page: list[Tree], *, has_more: bool) -> Tree:
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": has_more,
    }


def _batch(found: Iterable[Stored], chosen: Chosen) -> Iterator[bytes]:
    used: Counter[str] = Counter()

    def line(record: Parts, chosen: Chosen) -> Tree:
        record.check_contents()
        own = record.rest.labels.get(CUSTOM_ID) or record.rest.call_id or record.id()
        request = record.request(chosen.allow_nan) or {}
        if not isinstance(request.get("messages"), list):
            raise UnfitError(NO_REQUEST)
        body = {name: value for name, value in request.items() if name not in _STREAMING}
        name = _custom_id(own, used)
        return {CUSTOM_ID: name, METHOD: "POST", URL: f"/v1{ENDPOINT}", BODY: body}

    for each in _each(found, chosen, line):
        yield _text(each, chosen)


def _custom_id(own: str, used: Counter[str]) -> str:
    """A name of a request that no other one in the batch has.

    Args:
        own: The name that the request had in a batch before, or that of the call or of the answer,
            if there is one. A number distinguishes requests with the same name.
        used: The names of the others.
    """
    name = base = (own or "request")[:_LONGEST_ID]
    while name in used:
        used[base] += 1
        name = f"{base}-{used[base]}"
    used[name] = 1
    return name


def _each(
    found: Iterable[Stored],
    chosen: Chosen,
    made: Callable[[Parts, Chosen], Tree],
) -> Iterator[Tree]:
    """What is made of each record that fits."""
    for place, given in _given(found):
        try:
            each = made(Parts(given.pop()), chosen)
        except UnfitError as unfit:
            chosen.left_out[str(unfit)] += 1
        except ConversionError as error:
            raise at(place, error) from None
        else:
            chosen.written += 1
            yield each
            del each  # it may take most of the memory


def _given(found: Iterable[Stored]) -> Iterator[tuple[str, list[bytes]]]:
    """The places of records, each with the record, which only the list has."""
    return map(_listed, found)


def _listed(stored: Stored) -> tuple[str, list[bytes]]:
    return stored.place, [stored.data]


def _text(value: Any, chosen: Chosen) -> bytes:
    return dump(value).encode() if chosen.allow_nan else dump_bytes(value)


_FORMS: Final = {
    Form.RECORDS: _records,
    Form.RESPONSES: _responses,
    Form.FINE_TUNING: _fine_tuning,
    Form.STORED: _stored,
    Form.BATCH: _batch,
}
