"""Compact streams: chunks that leave out what the chunk before them already contains.

The fields with the option ``carried`` may be left out. The rule is section 10 of docs/mapping.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor

from chatpb._wire import WireError, embedded, field_at, flag, spans
from chatpb.v1 import options_pb2
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_service_pb2 import StreamChatCompletionResponse

#: The most bytes of a chunk that the next builds on, so that a few bytes do not become many, and
#: the most that a reader restores.
MAX_BYTES: Final = 16 * 1024
MAX_RESTORED_BYTES: Final = 64 * 1024


class Compactor:
    """Makes the chunks of one stream compact, where that makes them shorter.

    The law: a `Restorer` gives the same chunks, in their normal form.

    Every relayed chunk passes through it, so it works on bytes: comparing them with those of the
    chunk before takes less time than reading a field.
    """

    def __init__(self) -> None:
        self._before: _Shape | None = None

    def add(self, chunks: Iterable[bytes]) -> list[tuple[list[bytes], list[bytes]]]:
        """Takes the next chunks, in binary form.

        Returns:
            For each response to send, what is to be in `chunks` and in `compact_chunks`. Together
            that is never longer than the chunks.
        """
        responses: list[tuple[list[bytes], list[bytes]]] = [([], [])]
        for chunk in chunks:
            compact = self._compact(chunk)
            if compact is not None and len(compact) < len(chunk):
                responses[-1][1].append(compact)
                continue
            if responses[-1][1]:
                responses.append(([], []))  # in a response the whole chunks come first
            responses[-1][0].append(chunk)
        return responses

    def _compact(self, chunk: bytes) -> bytes | None:
        """The compact form of the next chunk, or None if it must come whole."""
        before = self._before
        if before is not None and (compact := _same(chunk, before)) is not None:
            return compact
        self._before = None
        if len(chunk) > MAX_BYTES:
            return None
        try:
            self._before = _shape(chunk, _CARRIED)
            return _differing(chunk, self._before, before) if before is not None else None
        except WireError:
            return None


class Restorer:
    """Restores the chunks of one stream, of which some are whole and some are compact."""

    def __init__(self) -> None:
        # The last chunk, as a message or as bytes that nobody has parsed yet.
        self._before: ChatCompletionChunk | bytes | None = None

    def add(self, response: StreamChatCompletionResponse) -> Iterator[ChatCompletionChunk]:
        """The chunks of the next response, made as they are read, all of them before the next.

        Raises:
            ValueError: A compact chunk has no chunk before it, or leaves out too much.
        """
        for chunk in response.chunks:
            self._before = chunk
            yield _copy(chunk)
        for compact in response.compact_chunks:
            yield _copy(self._restored(_copy(compact)))

    @property
    def before(self) -> bytes | None:
        """The last chunk in binary form; None if there was none."""
        before = self._before
        if isinstance(before, ChatCompletionChunk):
            return before.SerializeToString(deterministic=True)
        return before

    def follow(self, chunk: bytes) -> None:
        """Takes the next chunk, which is whole, in binary form."""
        self._before = chunk

    def restore(self, whole: Sequence[bytes], compact: Iterable[bytes]) -> list[bytes]:
        """Takes the next chunks in binary form, as a response has them.

        Returns:
            All of them whole, in binary form.

        Raises:
            DecodeError: A chunk is not the binary form of one.
            ValueError: As for `add`.
        """
        if whole:
            self.follow(whole[-1])
        parsed = (ChatCompletionChunk.FromString(chunk) for chunk in compact)
        return [
            *whole,
            *(self._restored(chunk).SerializeToString(deterministic=True) for chunk in parsed),
        ]

    def _restored(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        """Restores a compact chunk, in its place."""
        before = self._before
        if before is None:
            raise ValueError("a compact chunk has no chunk before it")
        if isinstance(before, bytes):
            before = ChatCompletionChunk.FromString(before)
        size = chunk.ByteSize()
        _restore(chunk, before, _CARRIED)
        if chunk.ByteSize() - size > MAX_RESTORED_BYTES:
            raise ValueError(f"a compact chunk leaves out more than {MAX_RESTORED_BYTES} bytes")
        self._before = chunk
        return chunk


def _copy(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    """A chunk that its reader may change."""
    copy = ChatCompletionChunk()
    copy.CopyFrom(chunk)
    return copy


class _Plan:
    """What a descriptor specifies of the carried fields of a message, and of the messages in it.

    Attributes:
        plain: The carried scalars without presence.
        optional: Those with presence.
        enums: The carried enums. In a compact chunk, zero means that one is unset.
        lists: The carried lists of scalars.
        messages: The carried messages. In a compact chunk, an empty one means that it is unset.
        unset: By its number, how each carried field is written if it is unset, or None.
        never: How a serializer never writes a carried field: zero, without presence.
        inner: By its number, each field whose messages have carried fields: its name, whether it
            is a list, and its plan.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.plain: list[str] = []
        self.optional: list[str] = []
        self.enums: list[str] = []
        self.lists: dict[int, str] = {}
        self.messages: list[str] = []
        self.unset: dict[int, bytes | None] = {}
        self.never: set[bytes] = set()
        self.inner: dict[int, tuple[str, bool, _Plan]] = {}
        for field in descriptor.fields:
            number, name = field.number, field.name
            if not field.GetOptions().Extensions[options_pb2.carried]:
                plan = _Plan(field.message_type) if field.message_type is not None else None
                if plan is not None and (plan.unset or plan.inner):
                    self.inner[number] = name, field.is_repeated, plan
            elif field.is_repeated:
                self.lists[number] = name
                self.unset[number] = None
            elif field.message_type is not None:
                self.messages.append(name)
                self.unset[number] = embedded(number, [b""])
            elif field.enum_type is not None:
                self.enums.append(name)
                self.unset[number] = flag(number, False)
            elif field.has_presence:
                self.optional.append(name)
                self.unset[number] = None
            else:
                self.plain.append(name)
                self.unset[number] = None
                self.never |= {flag(number, False), embedded(number, [b""])}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a message in binary form carries to the next.

    Attributes:
        plan: What its descriptor specifies.
        carried: By their numbers, the bytes of the carried fields, tags included.
        runs: The same fields, with adjacent ones joined.
        inner: By its number, what the messages in each field carry.
        counts: By its number, how many messages are in each field.
    """

    plan: _Plan
    carried: dict[int, bytes]
    runs: list[bytes]
    inner: dict[int, list[_Shape]]
    counts: dict[int, int]


def _shape(data: bytes, plan: _Plan) -> _Shape:
    """Looks at a message.

    Raises:
        WireError: It is none, or not as a serializer writes it.
    """
    inner: dict[int, list[_Shape]] = {number: [] for number in plan.inner}
    shape = _Shape(plan, {}, [], inner, dict.fromkeys(inner, 0))
    end = -1
    for span in spans(data):
        number, field = span.number, data[span.start : span.end]
        if number in plan.inner:
            _, is_list, inner_plan = plan.inner[number]
            if inner[number] and not is_list:
                raise WireError(f"a message that appears twice at byte {span.start}")
            inner[number].append(_shape(data[span.value : span.end], inner_plan))
            shape.counts[number] += 1
        elif number in plan.unset and field != plan.unset[number]:
            if (number in shape.carried and number not in plan.lists) or field in plan.never:
                raise WireError(f"a field that appears twice, or is zero, at byte {span.start}")
            shape.carried[number] = shape.carried.get(number, b"") + field
            if end == span.start:
                shape.runs[-1] += field
            else:
                shape.runs.append(field)
            end = span.end
    return shape


def _same(data: bytes, before: _Shape) -> bytes | None:
    """What is left of a message that carries the same as the one before; None if it does not."""
    plan, at, size = before.plan, 0, len(data)
    seen = dict.fromkeys(plan.inner, 0)
    left: list[bytes] = []
    try:
        for run in (*before.runs, None):
            while at < size if run is None else not data.startswith(run, at):
                start = at
                number, value, at = field_at(data, at)
                if number in plan.unset:
                    return None
                if number in seen:
                    place = seen[number]
                    seen[number] = place + 1
                    part = _same(data[value:at], before.inner[number][place])
                    if part is None:
                        return None
                    left.append(embedded(number, (part,)))
                else:
                    left.append(data[start:at])
            at += len(run or b"")
    except (IndexError, WireError):
        return None  # there are more messages, or fewer fields
    return b"".join(left) if seen == before.counts else None


def _differing(data: bytes, shape: _Shape, before: _Shape) -> bytes | None:
    """What is left of a message without what it carries from the one before.

    None if it could not be restored, because a field became unset that cannot say so.
    """
    left: list[bytes] = []
    seen = dict.fromkeys(before.plan.inner, 0)
    for span in spans(data):
        number, field = span.number, data[span.start : span.end]
        if number in seen:
            place = seen[number]
            seen[number] = place + 1
            if place < len(before.inner[number]):
                inner, old = shape.inner[number][place], before.inner[number][place]
                part = _differing(data[span.value : span.end], inner, old)
                if part is None:
                    return None
                field = embedded(number, (part,))
        elif number in shape.carried and before.carried.get(number) == shape.carried[number]:
            continue
        left.append(field)
    for number in sorted(before.carried.keys() - shape.carried.keys()):
        unset = before.plan.unset[number]
        if unset is None:
            return None
        left.append(unset)
    return b"".join(left)


def _restore(message: Any, before: Any, plan: _Plan) -> None:
    """Sets the fields of a message that were left out."""
    for name in plan.plain:
        if not getattr(message, name) and (old := getattr(before, name)):
            setattr(message, name, old)
    for name in plan.optional:
        if before.HasField(name) and not message.HasField(name):
            setattr(message, name, getattr(before, name))
    for name in plan.lists.values():
        if not getattr(message, name):
            getattr(message, name).extend(getattr(before, name))
    for name in plan.enums:
        if not message.HasField(name):
            if old := getattr(before, name):
                setattr(message, name, old)
        elif not getattr(message, name):
            message.ClearField(name)
    for name in plan.messages:
        if not message.HasField(name):
            if before.HasField(name):
                getattr(message, name).CopyFrom(getattr(before, name))
        elif not getattr(message, name).ByteSize():
            message.ClearField(name)
    for name, is_list, inner in plan.inner.values():
        if is_list:
            for part, old in zip(getattr(message, name), getattr(before, name), strict=False):
                _restore(part, old, inner)
        elif message.HasField(name) and before.HasField(name):
            _restore(getattr(message, name), getattr(before, name), inner)


_CARRIED: Final = _Plan(ChatCompletionChunk.DESCRIPTOR)
