"""Conversions of many documents at once."""

from __future__ import annotations

import io
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from chatpb._errors import ArgumentValueError, ConversionError, iterator_of, wrong_type
from chatpb._mapping.arguments import check_class, utf8
from chatpb._mapping.convert import binary_to_json, json_to_binary
from chatpb._mapping.native import native_type, transcoder
from chatpb.v1.chat_completion_pb2 import ChatCompletion

if TYPE_CHECKING:
    from _chatpb import Batches

_Data = bytes | bytearray | memoryview | str
#: From a document to its result, or None of a blank line.
_Convert = Callable[[Any], bytes | None]
_PATIENCE: Final = 0.05  # seconds that documents of a slow iterator wait for others
_MOST_THREADS: Final = 64  # since what is read ahead grows with them
_BOM: Final = b"\xef\xbb\xbf"


def json_lines_to_binary(
    lines: _Data | Iterable[_Data],
    message_type: type[Message] = ChatCompletion,
    *,
    allow_nan: bool = False,
    threads: int | None = None,
) -> Iterator[bytes]:
    """Reads many JSON texts into the binary form of messages, as `json_to_binary` reads each.

    ``chatpb.json_lines_to_binary(open("answers.jsonl", "rb"))`` is
    ``(chatpb.json_to_binary(line) for line in open("answers.jsonl", "rb"))``, but faster: several
    threads convert, without the GIL.

    Args:
        lines: JSON lines: a text, or an iterable of texts with one document each, such as a list or
            an open file. Lines may end in CRLF; lines that are blank are skipped. An iterable may
            be endless and is read ahead by some MiB; if it is slow, by what comes in 50 ms.
        message_type: The class of the messages, as for `from_json`.
        allow_nan: As for `from_json`.
        threads: How many threads convert at the same time; by default one for each processor that
            this process may use, at most 8. More than 64 count as 64. They end before a result is
            returned. The implementation in pure Python has one.

    Returns:
        An iterator over the messages in binary form, in the order of the lines. It is for one
        thread at a time: while it works, another one may get a `ValueError`, as from a generator.
        Ctrl-C may end it, without the documents that it has read ahead.

    Raises:
        ConversionError: By the iterator, in place of a message: `line` is the number of the line,
            `path` and `offset` are those in its document. What was read before has been returned,
            and the iterator goes on with the next line.
        TypeError: As for `from_json`; an item is neither bytes nor str: in place of its message.
        ValueError: `threads` is less than 1.
    """
    check_class(message_type)
    text = _whole_text(lines)
    items = lines if text is None else (line.removesuffix(b"\n") for line in io.BytesIO(text))
    source = iterator_of(items, "JSON lines, as a text or an iterable of texts")

    def convert(line: Any) -> bytes | None:
        return None if _is_blank(line) else json_to_binary(line, message_type, allow_nan=allow_nan)

    batches = _batches(message_type, False, allow_nan, False, threads)
    if batches is None:
        return _OneByOne(source, convert)
    if text is not None:
        return _chained(_of_text(text, batches, convert))
    return _chained(_of_items(source, batches, convert, _patience(lines)))


def binaries_to_json_lines(
    binaries: Iterable[bytes],
    message_type: type[Message] = ChatCompletion,
    *,
    allow_nan: bool = False,
    ignore_unknown_fields: bool = False,
    threads: int | None = None,
) -> Iterator[bytes]:
    r"""Writes many messages in binary form as JSON texts, as `binary_to_json` writes each.

    Each text is one line without a line feed:
    ``file.writelines(line + b"\n" for line in chatpb.binaries_to_json_lines(binaries))``.

    Args:
        binaries: The messages: a list, or any other iterable, as for `json_lines_to_binary`.
        message_type: As for `binary_to_json`.
        allow_nan: As for `binary_to_json`.
        ignore_unknown_fields: As for `binary_to_json`.
        threads: As for `json_lines_to_binary`.

    Returns:
        An iterator over the texts, in the order of the messages.

    Raises:
        ConversionError: By the iterator, in place of a text: `line` is the number of the message,
            from 1, which is that of its line. What was written before has been returned, and the
            iterator goes on with the next message.
        TypeError: As for `binary_to_json`; an item is not bytes: in place of its text.
        ValueError: `threads` is less than 1.
    """
    check_class(message_type)
    if isinstance(binaries, _Data):
        raise wrong_type("an iterable of messages in binary form", binaries)
    source = iterator_of(binaries, "an iterable of messages in binary form")

    def convert(data: Any) -> bytes:
        return binary_to_json(
            data,
            message_type,
            allow_nan=allow_nan,
            ignore_unknown_fields=ignore_unknown_fields,
        )

    batches = _batches(message_type, True, allow_nan, ignore_unknown_fields, threads)
    if batches is None:
        return _OneByOne(source, convert)
    return _chained(_of_items(source, batches, convert, _patience(binaries)))


def _whole_text(lines: Any) -> bytes | None:
    """The bytes of a text, or of what has the buffer of one; None of an iterable of texts."""
    if isinstance(lines, str):
        return utf8(lines)
    if type(lines) is bytes:
        return lines
    try:
        view = memoryview(lines)
    except TypeError:
        return None
    return bytes(view) if view.itemsize == 1 else None


def _patience(items: object) -> float | None:
    """How long the items of an iterable wait for others; None of those that are all there."""
    return None if isinstance(items, list | tuple) else _PATIENCE


def _batches(
    message_type: type[Message],
    to_json: bool,
    allow_nan: bool,
    ignore_unknown_fields: bool,
    threads: int | None,
) -> Batches | None:
    """What converts; None if the reference does.

    Raises:
        ArgumentTypeError: The number of threads is not an integer.
        ArgumentValueError: There are no threads.
        SchemaError: The message does not mirror a JSON value. It is a TypeError.
    """
    if threads is not None:
        try:
            threads = operator.index(threads)
        except TypeError:
            raise wrong_type("a number of threads", threads) from None
    if threads is not None and threads < 1:
        raise ArgumentValueError(f"expected at least 1 thread, got {threads}")
    number = native_type(message_type) if transcoder is not None else None
    if transcoder is None or number is None:
        from chatpb._mapping.schema import mapping_of  # only the reference needs it

        mapping_of(message_type)
        return None
    from _chatpb import Batches

    flags = (to_json, allow_nan, ignore_unknown_fields)
    return Batches(transcoder, number, *flags, min(threads or 0, _MOST_THREADS))


def _chained(results: Iterator[Iterable[bytes]]) -> Iterator[bytes]:
    from _chatpb import Chain

    return Chain(results)


def _of_items(
    source: Iterator[Any], batches: Batches, convert: _Convert, patience: float | None
) -> Iterator[Iterable[bytes]]:
    """The results of documents, batch by batch."""
    before = 0
    while True:
        results, refused, count, failure = batches.take(source, patience)
        yield from _parts(results, refused, before, convert)
        before += count
        if failure is not None:
            yield _raised(failure)
        elif not count:
            return


def _of_text(text: bytes, batches: Batches, convert: _Convert) -> Iterator[Iterable[bytes]]:
    """The results of lines, batch by batch."""
    before = end = 0
    while end < len(text):
        results, refused, count, end = batches.split(text, end)
        yield from _parts(results, refused, before, convert)
        before += count


def _parts(
    results: list[Any], refused: list[tuple[int, int]], before: int, convert: _Convert
) -> Iterator[Iterable[bytes]]:
    """The results of a batch: those up to each document that was refused, and what it becomes.

    Args:
        results: The results, and the documents that were refused.
        refused: The places of these, and the number of documents of the batch before each.
        before: The number of documents before the batch.
        convert: Converts one of them, or raises its error.
    """
    if not refused:
        yield results
        return
    start = 0
    for place, index in refused:
        yield results[start:place]
        yield _one(results[place], before + index + 1, convert)
        start = place + 1
    yield results[start:]


def _one(document: Any, line: int, convert: _Convert) -> Iterator[bytes]:
    """The result of a document. That of a blank line is none."""
    try:
        result = convert(document)
    except ConversionError as error:
        raise ConversionError(error.reason, error.path, error.offset, line) from None
    if result is not None:
        yield result


def _raised(failure: BaseException) -> Iterator[bytes]:
    """Raises an error in place of a result: `Chain` goes on with what comes after it."""
    raise failure
    yield


class _OneByOne(Iterator[bytes]):
    """The results of documents, one after the other, which goes on after an error."""

    def __init__(self, source: Iterable[Any], convert: _Convert) -> None:
        self._documents = enumerate(source, 1)
        self._convert = convert

    def __next__(self) -> bytes:
        for line, document in self._documents:
            for result in _one(document, line, self._convert):
                return result
        raise StopIteration


def _is_blank(line: Any) -> bool:
    """Whether a line has white space only, apart from a byte order mark."""
    return not utf8(line).removeprefix(_BOM).strip(b" \t\n\r")
