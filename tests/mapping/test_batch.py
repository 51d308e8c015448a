"""Many documents at once: the same results and errors as one by one, in order."""

from __future__ import annotations

import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import chatpb
from chatpb import ConversionError
from chatpb._mapping import batch
from chatpb.v1 import ChatCompletionChunk, ChatCompletionRequest, Residue
from support import forks
from support.golden_files import vectors

MANY = 1600  # documents, which make several batches

THREADS = pytest.mark.parametrize("threads", [None, 1, 3], ids=lambda threads: f"threads={threads}")


def _lines(count: int = MANY) -> list[bytes]:
    filler = b"a" * 1500
    return [b'{"id":"%d","created":%d,"x":"%s"}' % (n, n, filler) for n in range(count)]


def _outcomes(results: Iterator[bytes]) -> list[Any]:
    """All results, with errors in their places."""
    found: list[Any] = []
    while True:
        try:
            found.extend(results)
        except (ConversionError, TypeError, OSError) as error:
            found.append(error)
        else:
            return found


def _cut(results: Iterator[bytes]) -> tuple[list[bytes], ConversionError]:
    """The results before the first error, and the error."""
    found: list[bytes] = []
    with pytest.raises(ConversionError) as caught:
        found.extend(results)
    return found, caught.value


def test_any_number_of_threads() -> None:
    expected = [chatpb.json_to_binary(line) for line in _lines(10)]
    assert expected == list(chatpb.json_lines_to_binary(_lines(10), threads=10**30))


@THREADS
def test_there_and_back(threads: int | None) -> None:
    lines = _lines()
    binaries = list(chatpb.json_lines_to_binary(lines, threads=threads))
    assert [chatpb.json_to_binary(line) for line in lines] == binaries
    written = list(chatpb.binaries_to_json_lines(binaries, threads=threads))
    assert [chatpb.binary_to_json(binary) for binary in binaries] == written


def test_all_vectors() -> None:
    for kind, group in itertools.groupby(
        sorted(vectors(), key=lambda vector: vector.message_type.__name__),
        key=lambda vector: vector.message_type,
    ):
        members = list(group)
        texts = [vector.json for vector in members]
        binaries = [vector.binary for vector in members]
        assert binaries == list(chatpb.json_lines_to_binary(texts, kind))
        expected = [chatpb.binary_to_json(binary, kind) for binary in binaries]
        assert expected == list(chatpb.binaries_to_json_lines(binaries, kind))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(list, id="list"),
        pytest.param(tuple, id="tuple"),
        pytest.param(iter, id="iterator"),
        pytest.param(lambda lines: (line for line in lines), id="generator"),
        pytest.param(lambda lines: [line.decode() for line in lines], id="str"),
        pytest.param(lambda lines: [bytearray(line) for line in lines], id="bytearray"),
        pytest.param(lambda lines: [memoryview(line) for line in lines], id="memoryview"),
        pytest.param(b"\n".join, id="text"),
        pytest.param(lambda lines: b"\r\n".join(lines).decode() + "\r\n", id="str of CRLF"),
        pytest.param(lambda lines: bytearray(b"\n".join(lines)), id="text as bytearray"),
        pytest.param(lambda lines: memoryview(b"\n".join(lines)), id="text as memoryview"),
        pytest.param(lambda lines: io.BytesIO(b"\r\n".join(lines)), id="binary file"),
        pytest.param(lambda lines: io.StringIO(b"\n".join(lines).decode()), id="text file"),
        pytest.param(lambda lines: b"\xef\xbb\xbf" + b"\n".join(lines), id="byte order mark"),
        pytest.param(lambda lines: b"\n \r\n" + b"\n\n\t".join(lines) + b"\n\n", id="blank lines"),
    ],
)
def test_forms_of_lines(given: Callable[[list[bytes]], Any]) -> None:
    lines = _lines()
    expected = [chatpb.json_to_binary(line) for line in lines]
    assert expected == list(chatpb.json_lines_to_binary(given(lines)))


def test_no_document() -> None:
    empty: Any
    for empty in (b"", "", [], b"\n", "\ufeff\r\n", [b"", " ", bytearray(b"\n")]):
        assert [] == list(chatpb.json_lines_to_binary(empty))


def test_an_empty_message_is_a_line() -> None:
    binaries: list[Any] = [b"", bytearray(), memoryview(b"")]
    expected = [chatpb.binary_to_json(b"")] * 3
    assert expected == list(chatpb.binaries_to_json_lines(binaries))


def test_options() -> None:
    text = b'{"created":1,"x":NaN}'
    binary = chatpb.json_to_binary(text, allow_nan=True)
    assert [binary] == list(chatpb.json_lines_to_binary([text], allow_nan=True))
    assert "NaN" in str(_cut(chatpb.json_lines_to_binary([text]))[1])
    assert "NaN" in str(_cut(chatpb.binaries_to_json_lines([binary]))[1])
    assert [chatpb.binary_to_json(binary, allow_nan=True)] == list(
        chatpb.binaries_to_json_lines([binary], allow_nan=True)
    )
    unknown = b"\xfa\x3f\x01a"  # field 1023
    assert "field 1023" in str(_cut(chatpb.binaries_to_json_lines([unknown]))[1])
    assert [chatpb.binary_to_json(b"")] == list(
        chatpb.binaries_to_json_lines([unknown], ignore_unknown_fields=True)
    )


def test_message_type() -> None:
    text = b'{"model":"m","messages":[]}'
    assert [chatpb.json_to_binary(text, ChatCompletionRequest)] == list(
        chatpb.json_lines_to_binary([text], ChatCompletionRequest)
    )
    assert [chatpb.binary_to_json(b"", ChatCompletionChunk)] == list(
        chatpb.binaries_to_json_lines([b""], ChatCompletionChunk)
    )


@THREADS
@pytest.mark.parametrize("place", [0, 1, MANY // 2, MANY - 1])
def test_the_error_of_a_line(place: int, threads: int | None) -> None:
    lines = _lines()
    lines[place] = b'{"id":"a","choices":[1,]}'
    for given in (lines, iter(lines), b"\n".join(lines)):
        results = chatpb.json_lines_to_binary(given, threads=threads)
        before, error = _cut(results)
        assert [chatpb.json_to_binary(line) for line in lines[:place]] == before
        assert (place + 1, "$.choices[1]", 23) == (error.line, error.path, error.offset)
        assert f"line {place + 1}: $.choices[1] (byte 23): expected a value, got ']}}'" == str(
            error
        )
        # The iterator goes on with the next line.
        after = [chatpb.json_to_binary(line) for line in lines[place + 1 :]]
        assert after == list(results)


@THREADS
def test_the_error_of_a_message(threads: int | None) -> None:
    binaries = [chatpb.json_to_binary(line) for line in _lines()]
    binaries[1234] = b"{}"
    results = chatpb.binaries_to_json_lines(binaries, threads=threads)
    before, error = _cut(results)
    assert 1234 == len(before)
    assert 1235 == error.line
    assert "line 1235: $: not the binary form of a chatpb.v1.ChatCompletion" == str(error)
    assert len(binaries) - 1235 == len(list(results))


def test_lines_are_counted_with_blank_ones() -> None:
    text = b"\xef\xbb\xbf\n{}\r\n\r\n{]\n\n[]\n{}"
    for given in (text, text.decode(), text.split(b"\n"), io.BytesIO(text)):
        first, one, two, last = _outcomes(chatpb.json_lines_to_binary(given))
        assert (chatpb.json_to_binary(b"{}"),) * 2 == (first, last)
        assert (4, 6) == (one.line, two.line)
        assert "expected an object, got an array" == two.reason


def test_every_line_is_refused() -> None:
    found = _outcomes(chatpb.json_lines_to_binary([b"["] * MANY))
    assert list(range(1, MANY + 1)) == [error.line for error in found]


def test_items_of_other_types_are_errors_in_their_places() -> None:
    good = chatpb.json_to_binary(b"{}")
    found = _outcomes(chatpb.json_lines_to_binary([b"{}", 1, "{}", None, b"{}"]))  # type: ignore[list-item]
    assert [good, good, good] == found[::2]
    assert ["expected JSON text as bytes or str, got an int"] == [str(found[1])]
    found = _outcomes(chatpb.binaries_to_json_lines([b"", "text", b""]))  # type: ignore[list-item]
    assert ["expected bytes, got a str"] == [str(found[1])]
    assert 3 == len(found)


def test_lone_surrogates_in_str() -> None:
    text = '{"id":"\ud800"}'
    assert [chatpb.json_to_binary(text)] == list(chatpb.json_lines_to_binary([text]))
    assert [chatpb.json_to_binary(text)] == list(chatpb.json_lines_to_binary(text))


def test_an_error_of_the_input_comes_after_what_was_read() -> None:
    def lines() -> Iterator[bytes]:
        yield b"{}"
        yield b"{}"
        raise OSError("the disk is gone")

    good = chatpb.json_to_binary(b"{}")
    found = _outcomes(chatpb.json_lines_to_binary(lines()))
    assert [good, good] == found[:2]
    assert "the disk is gone" == str(found[2])
    assert 3 == len(found)


def test_arguments() -> None:
    convert: Any
    for convert in (chatpb.json_lines_to_binary, chatpb.binaries_to_json_lines):
        with pytest.raises(TypeError, match="expected a message class"):
            convert([], "ChatCompletion")
        with pytest.raises(TypeError, match="neither a JSON object nor"):
            convert([], Residue)
        with pytest.raises(TypeError, match="got an int"):
            convert(1)
        with pytest.raises(ValueError, match="expected at least 1 thread, got 0"):
            convert([], threads=0)
    for data in (b"", "", bytearray(), memoryview(b"")):
        with pytest.raises(TypeError, match="expected an iterable of messages in binary form"):
            chatpb.binaries_to_json_lines(data)  # type: ignore[arg-type]


def test_endless_input() -> None:
    results = chatpb.json_lines_to_binary(itertools.repeat(b'{"id":"a"}'))
    expected = chatpb.json_to_binary(b'{"id":"a"}')
    assert {expected} == set(itertools.islice(results, 3 * MANY))


def test_input_is_read_ahead_by_a_bounded_number_of_bytes() -> None:
    taken = 0

    def lines(line: bytes) -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield line

    for line in (b"{}", b'{"id":"%s"}' % (b"a" * 100_000)):
        taken = 0
        next(chatpb.json_lines_to_binary(lines(line), threads=2))
        assert taken * len(line) <= 10 << 20
        taken = 0
        next(chatpb.binaries_to_json_lines(lines(b""), threads=2))
        assert taken <= 100_000


def test_slow_input_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document waits for those that come in a short time, not for a batch of many."""
    monkeypatch.setattr(batch, "_PATIENCE", 0.0)
    given = itertools.count()
    results = chatpb.json_lines_to_binary(b'{"created":%d}' % number for number in given)
    assert chatpb.json_to_binary(b'{"created":0}') == next(results)
    assert 1 == next(given)


def test_large_documents() -> None:
    text = json.dumps({"id": "a" * 3_000_000, "choices": []}).encode()
    lines = [text, b"{}"] * 4
    expected = [chatpb.json_to_binary(line) for line in lines]
    assert expected == list(chatpb.json_lines_to_binary(lines))
    assert expected == list(chatpb.json_lines_to_binary(b"\n".join(lines)))
    written = [chatpb.binary_to_json(binary) for binary in expected]
    assert written == list(chatpb.binaries_to_json_lines(expected))


@forks.allowed
def test_a_forked_child_converts() -> None:
    results = chatpb.json_lines_to_binary(_lines())
    next(results)
    assert str(MANY - 1) == forks.in_child(lambda: len(list(results)))
    assert MANY - 1 == len(list(results))


def _documents_in_a_buffer(kind: Callable[[bytearray], Any], documents: list[bytes]) -> Any:
    """Documents of the same length, each in the buffer of the one before it."""
    buffer = bytearray(len(documents[0]))
    for document in documents:
        buffer[:] = document
        yield kind(buffer)


@pytest.mark.parametrize("kind", [lambda buffer: buffer, memoryview], ids=["bytearray", "view"])
def test_a_buffer_that_is_used_again(kind: Callable[[bytearray], Any]) -> None:
    lines = [b'{"id":"%d"}' % n for n in range(10)]
    binaries = [chatpb.json_to_binary(line) for line in lines]
    read = chatpb.json_lines_to_binary(_documents_in_a_buffer(kind, lines))
    assert binaries == list(read)
    written = chatpb.binaries_to_json_lines(_documents_in_a_buffer(kind, binaries))
    assert [chatpb.binary_to_json(data) for data in binaries] == list(written)


def test_text_is_not_a_binary_form() -> None:
    for text in ("", "\n\x01a"):
        with pytest.raises(TypeError, match="expected bytes, got a str"):
            next(chatpb.binaries_to_json_lines([text]))  # type: ignore[list-item]


def test_an_iterator_that_ended_is_not_asked_again() -> None:
    items = iter([b'{"id":"0"}', None, b'{"id":"1"}'])
    until_none = map(lambda item: item if item else next(iter(())), items)  # noqa: C417
    assert [b"0"] == [data[2:3] for data in chatpb.json_lines_to_binary(until_none)]


@pytest.mark.parametrize("threads", ["2", 1.5, [1]])
def test_threads_are_a_number(threads: Any) -> None:
    for convert in (chatpb.json_lines_to_binary, chatpb.binaries_to_json_lines):
        with pytest.raises(TypeError, match="expected a number of threads") as caught:
            convert([], threads=threads)
        assert isinstance(caught.value, chatpb.ChatpbError)


def test_input_that_asks_for_results() -> None:
    def lines() -> Iterator[bytes]:
        yield b'{"id":"0"}'
        with pytest.raises(ValueError, match="already executing"):
            next(results)
        yield b'{"id":"1"}'

    results = chatpb.json_lines_to_binary(lines())
    assert [b"0", b"1"] == [data[2:3] for data in results]


@pytest.mark.parametrize("kind", [list, iter, b"\n".join], ids=["list", "iterator", "text"])
def test_threads_that_share_an_iterator_lose_nothing(kind: Callable[[list[bytes]], Any]) -> None:
    lines = _lines(3 * MANY)
    results = chatpb.json_lines_to_binary(kind(lines))
    found: list[bytes] = []
    errors: set[str] = set()

    def take() -> None:
        while True:
            try:
                found.append(next(results))
            except StopIteration:
                return
            except ValueError as error:
                errors.add(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chatpb.json_to_binary(line) for line in lines) == sorted(found)
    assert all("already executing" in error for error in errors)
