"""Inputs on which implementations are compared: mutations of the golden vectors, by a seed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from chatpb import ConversionError, binary_to_json, from_json, to_json, unfold
from chatpb._mapping.canonical import canonical
from chatpb._wire import embedded
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, StreamChatCompletionResponse
from mapping.fuzz import BINARY, JSON, Case, Fuzzer
from mapping.mutate_json import JsonMutator, Text, garble
from support.golden_files import message_class
from support.stream_vectors import messages_of, stream_vectors

_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
#: Longer streams take time and find nothing that shorter ones do not.
_LONGEST: Final = 4096
#: Ten bytes that are a number of more than 64 bits, which some runtimes take.
_TOO_LARGE: Final = re.compile(rb"[\x80-\xff]{9}[\x02-\x7f]")
_UNKNOWN_FIELD: Final = re.compile(r"field (\d+) of (\S+) is not in this version")
_LINE_ENDS: Final = (b"\n", b"\n", b"\n", b"\r\n", b"\r")
_LINES: Final = (
    *(b": ping", b":", b"event: error", b"event: message", b"event:error", b"event", b"id: 1"),
    *(b"data", b"data:", b"data: ", b"data: : x", b"data:\t[DONE] ", b"data: [DONE]", b"data: {"),
    *(b'data: "id":"a"', b"data: }", b"data: [1]", b"data: null", b"data: {}", b" data: {}"),
    *(b'data: {"error":{"message":"a"}}', b'data: {"error":"a","choices":null}'),
    *(b'data: {"choices":[{"error":{"code":1.50}}]}', b'data: {"detail":"a"}'),
    *(b'data: {"message":"a","request_id":"r"}', b'data: [{"error":{"message":"a"}}]'),
    *(b'data: {"error":null}', b'data: {"error":{},"id":"a"}', b'data: {"message":"a","id":null}'),
    b'data: {"error":{"message":"b"},"choices":[]}',
)


class Input(NamedTuple):
    """What an implementation is asked: what to do, and with what (see tests/vectors/README.md)."""

    name: str
    arguments: tuple[str | bytes, ...]

    @property
    def line(self) -> str:
        """The input as a line of a file: bytes are in hexadecimal."""
        fields = (part.hex() if isinstance(part, bytes) else part for part in self.arguments)
        return "\t".join((self.name, *fields))


class Inputs:
    """An endless supply of inputs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        fuzzer = Fuzzer(seed)
        self._rng = fuzzer.rng
        self._cases = fuzzer.cases()
        self._json: JsonMutator = fuzzer.json_mutator
        self._streams = [
            [Text(line.decode()) for line in vector.file(".jsonl").read_bytes().splitlines()]
            for vector in stream_vectors()
            if vector.file(".jsonl").exists()
            and vector.file(".jsonl").stat().st_size < _LONGEST
            and "allow_nan" not in vector.entry
        ]
        self._completions = [
            Text(vector.file(".json").read_text("utf-8")) for vector in stream_vectors("unfold")
        ] + fuzzer.texts[ChatCompletion]
        self._responses = [
            messages_of(vector.file(".binpbs").read_bytes())
            for vector in stream_vectors("compact")
            if vector.file(".binpbs").stat().st_size < _LONGEST
        ]
        self._events = [
            (vector.file(".sse").read_bytes(), vector.entry["max_event_bytes"])
            for vector in stream_vectors("sse")
        ]

    def __iter__(self) -> Iterator[Input]:
        kinds = (
            *[self._conversion] * 8,
            *[self._fold] * 5,
            *[self._unfold] * 2,
            *[self._restore, self._restore, self._compact],
            *[self._sse] * 3,
        )
        while True:
            yield self._rng.choice(kinds)()

    def _conversion(self) -> Input:
        case = next(self._cases)
        while case.form == BINARY and not is_message(case):
            case = next(self._cases)  # whether bytes are a message is for each runtime to say
        name = "read" if case.form == JSON else "write"
        return Input(name, (case.kind.DESCRIPTOR.full_name, case.data))

    def _fold(self) -> Input:
        return Input("fold", tuple(self._chunks()))

    def _chunks(self) -> list[bytes]:
        """The chunks of a stream, each of which can be read."""
        rng = self._rng
        texts = list(rng.choice(self._streams))
        if rng.random() < 0.2:  # a completion in pieces, as other servers might cut it
            texts = self._pieces() or texts
        mutated = [text.text.encode("utf-8", "surrogatepass") for text in texts]
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            at = rng.randrange(len(mutated) + 1)
            step = rng.randrange(6)
            if step == 0:
                del mutated[at : at + 1]
            elif step == 1:
                mutated[at:at] = mutated[: rng.randrange(3)]
            elif step == 2:
                rng.shuffle(mutated)
            else:
                other = rng.choice(texts if step < 5 else rng.choice(self._streams))
                text = self._json.mutate(other)
                if is_readable(text):
                    mutated[at : at + rng.randrange(2)] = [text]
        return mutated

    def _pieces(self) -> list[Text]:
        try:
            completion = from_json(self._json.mutate(self._rng.choice(self._completions)))
            chunks = list(unfold(completion))
            return [Text(to_json(chunk).decode()) for chunk in chunks]
        except ConversionError:
            return []

    def _unfold(self) -> Input:
        return Input("unfold", (self._json.mutate(self._rng.choice(self._completions)),))

    def _compact(self) -> Input:
        return Input("compact", tuple(self._chunks()))

    def _restore(self) -> Input:
        rng = self._rng
        responses = list(rng.choice(self._responses))
        if rng.random() < 0.5:  # other chunks than a compactor leaves
            chunks = [canonical(from_json(chunk, ChatCompletionChunk)) for chunk in self._chunks()]
            responses = [
                embedded(_CHUNKS if rng.random() < 0.4 else _COMPACT, [chunk]) for chunk in chunks
            ]
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(responses) + 1)
            responses[at:at] = rng.choice(self._responses)[: rng.randrange(3)]
        return Input("restore", tuple(responses))

    def _sse(self) -> Input:
        rng = self._rng
        data, most = rng.choice(self._events)
        if rng.random() < 0.7:
            data = b"".join(self._lines())
        if rng.random() < 0.2:
            most = rng.randrange(1, 150)
        if rng.random() < 0.15:
            data = garble(data, rng)
        size = rng.choice((1, 2, 3, 7, 16, 50, 1 << 20))
        return Input("sse", (str(most), str(size), data))

    def _lines(self) -> Iterator[bytes]:
        rng = self._rng
        if rng.random() < 0.1:
            yield b"\xef\xbb\xbf"
        ends = _LINE_ENDS if rng.random() < 0.3 else (rng.choice(_LINE_ENDS),)
        for _ in range(rng.randrange(1, 12)):
            line = rng.choice(_LINES)
            if rng.random() < 0.3:
                line = b"data: " + self._json.mutate(rng.choice(rng.choice(self._streams)))
            yield line + rng.choice(ends)
            if rng.random() < 0.5:
                yield rng.choice(ends)


def is_message(case: Case) -> bool:
    """Whether bytes are a message to every runtime.

    That is for the runtimes to say, and the same applies to unknown fields in the entries of maps.
    """
    if _TOO_LARGE.search(case.data):
        return False
    try:
        binary_to_json(case.data, case.kind)
    except ConversionError as error:
        found = _UNKNOWN_FIELD.match(error.reason)
        if found is not None:
            fields = message_class(found[2]).DESCRIPTOR.fields_by_number
            return int(found[1]) not in fields
        return not error.reason.startswith("not the binary form")
    return True


def is_readable(text: bytes) -> bool:
    """Whether a text is that of a chunk."""
    try:
        from_json(text, ChatCompletionChunk)
    except ConversionError:
        return False
    return True


def inputs(count: int, seed: int) -> Iterator[Input]:
    """That many inputs."""
    source = iter(Inputs(seed))
    return (next(source) for _ in range(count))


def without_parts(given: Input, size: int) -> Iterator[Input]:
    """Smaller inputs: each without some bytes of one of its parts, or without a whole one."""
    parts = given.arguments
    for place, part in enumerate(parts):
        if not isinstance(part, bytes):
            continue
        if given.name in ("fold", "compact", "restore"):
            yield given._replace(arguments=parts[:place] + parts[place + 1 :])
        for at in range(0, len(part), size):
            shorter = part[:at] + part[at + size :]
            yield given._replace(arguments=(*parts[:place], shorter, *parts[place + 1 :]))
