"""The command ``export``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import click
from google.protobuf.message import Message

import chatpb
from chatpb._cli.failure import DATA_ERROR, CliError, at
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option, nan_option, output_option
from chatpb._cli.output import open_output
from chatpb._cli.stored.printing import Printer, What, report_left_out
from chatpb._errors import ConversionError
from chatpb._mapping.text import dump, dump_bytes, parse
from chatpb.v1 import CompletionRecord

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored

_Tree = dict[str, Any]

_PAGE: Final = 100  # completions on a page, the most that OpenAI's API gives
# The members that OpenAI's guide to fine-tuning lists: of an example besides its messages, of an
# answer.
_EXAMPLE: Final = ("tools", "parallel_tool_calls", "functions")
_ANSWER: Final = ("role", "content", "refusal", "tool_calls", "function_call")
_ENDED: Final = ("stop", "tool_calls", "function_call")
# The members of the request that api.openai.com repeats in a stored completion.
_STORED: Final = (
    "tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty", "tools",
    "response_format",
)  # fmt: skip


class Form(StrEnum):
    """What is written."""

    RESPONSES = "responses"
    FINE_TUNING = "fine-tuning"
    STORED = "stored"


class _UnfitError(Exception):
    """A record that does not fit a form; the text is the reason."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--form",
    type=click.Choice([form.value for form in Form]),
    default=Form.RESPONSES.value,
    show_default=True,
    help="What to write.",
)
@click.option("--where", metavar="PREDICATE", help="Only these records; see chatpb grep --help.")
@output_option
@keys_option
@nan_option
def command(
    paths: tuple[str, ...],
    form: str,
    where: str | None,
    keys: LogKeys | None,
    output: str,
    allow_nan: bool,
) -> None:
    """Write a table in a form that other programs read.

    \b
      responses    completions, one on each line; streams are put together
      fine-tuning  OpenAI's JSON lines for fine-tuning of chat models: the messages of the request
                   and the answer, with the tools; only answers that are complete
      stored       pages of stored completions as OpenAI's API lists them, one on each line, which
                   `chatpb compact` reads too

    \b
      chatpb export table > responses.jsonl
      chatpb export --form fine-tuning --where 'labels.grade = good' table -o train.jsonl
      chatpb export --form stored table | head -1 | jq .data[0]

    Records that do not fit the form are left out, and counted on standard error with the reason.
    Logs are read too. Exit code 1 if no record is written.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.language import parse
    from chatpb._cli.stored.records import records

    counter = _Counted(records(paths, None if where is None else parse(where), keys=keys))
    left_out: Counter[str] = Counter()
    with open_output(output, binary=False) as out:
        for text in _FORMS[Form(form)](counter, left_out, allow_nan):
            out.write(text + b"\n")
    report_left_out(left_out)
    if not counter.count:
        raise CliError("no records in the input")
    if counter.count == left_out.total():
        click.get_current_context().exit(DATA_ERROR)


class _Counted:
    """Records, and how many there were."""

    def __init__(self, found: Iterable[Stored]) -> None:
        self.count = 0
        self._found = found

    def __iter__(self) -> Iterator[Stored]:
        for each in self._found:
            self.count += 1
            yield each


def _responses(found: Iterable[Stored], left_out: Counter[str], allow_nan: bool) -> Iterator[bytes]:
    printer = Printer(What.RESPONSE, allow_nan=allow_nan)
    for data, place in found:
        texts = list(printer.texts(data, place))
        left_out.update([_NO_RESPONSE] if not texts else [])
        yield from texts


def _fine_tuning(
    found: Iterable[Stored], left_out: Counter[str], allow_nan: bool
) -> Iterator[bytes]:
    for data, place in found:
        try:
            example = _example(*_trees(data, allow_nan))
        except _UnfitError as unfit:
            left_out[str(unfit)] += 1
        except ConversionError as error:
            raise at(place, error) from None
        else:
            yield _text(example, allow_nan)


def _example(request: _Tree | None, completion: _Tree | None) -> _Tree:
    if completion is None:
        raise _UnfitError(_NO_RESPONSE)
    if request is None or not isinstance(request.get("messages"), list):
        raise _UnfitError("without a request")
    choices = completion.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        raise _UnfitError("with other than one choice")
    message = choices[0].get("message")
    if choices[0].get("finish_reason") not in _ENDED or not isinstance(message, dict):
        raise _UnfitError("whose answer did not come to its end")
    answer = {name: message[name] for name in _ANSWER if message.get(name) not in (None, [])}
    if not answer.keys() - {"role"}:
        raise _UnfitError("whose answer is empty")
    rest = {name: request[name] for name in _EXAMPLE if request.get(name) is not None}
    answer = {"role": "assistant", **answer}
    return {"messages": [*request["messages"], answer], **rest}


def _stored(found: Iterable[Stored], left_out: Counter[str], allow_nan: bool) -> Iterator[bytes]:
    page: list[_Tree] = []
    for data, place in found:
        try:
            item = _stored_completion(*_trees(data, allow_nan))
        except _UnfitError as unfit:
            left_out[str(unfit)] += 1
            continue
        except ConversionError as error:
            raise at(place, error) from None
        if len(page) == _PAGE:
            yield _text(_list(page, has_more=True), allow_nan)
            page = []
        page.append(item)
    yield _text(_list(page, has_more=False), allow_nan)


def _stored_completion(request: _Tree | None, completion: _Tree | None) -> _Tree:
    if completion is None:
        raise _UnfitError(_NO_RESPONSE)
    if not isinstance(completion.get("id"), str):
        raise _UnfitError("without an id")
    members: _Tree = {"metadata": {}}
    if request is not None:
        members |= {name: request.get(name) for name in _STORED}
        members |= {"input_user": request.get("user"), "metadata": request.get("metadata") or {}}
    return members | completion


def _list(page: list[_Tree], *, has_more: bool) -> _Tree:
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": has_more,
    }


def _trees(data: bytes, allow_nan: bool) -> tuple[_Tree | None, _Tree | None]:
    """The request and the completion of a record as JSON trees."""
    record = CompletionRecord.FromString(data)
    request = _tree(record.request, allow_nan) if record.HasField("request") else None
    if record.HasField("completion"):
        return request, _tree(record.completion, allow_nan)
    chunks = record.chunks
    return request, _tree(chatpb.fold(chunks), allow_nan) if chunks else None


def _tree(message: Message, allow_nan: bool) -> _Tree:
    tree: _Tree = parse(chatpb.to_json(message, allow_nan=allow_nan), allow_nan=allow_nan)
    return tree


def _text(tree: _Tree, allow_nan: bool) -> bytes:
    return dump(tree).encode() if allow_nan else dump_bytes(tree)


_NO_RESPONSE: Final = "without a response"
_FORMS: Final = {
    Form.RESPONSES: _responses,
    Form.FINE_TUNING: _fine_tuning,
    Form.STORED: _stored,
}
