"""An upstream that replays recordings."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import orjson

from chatpb import ConversionError, _endings, binary_to_json, fold, from_json, sse, unfold
from chatpb._compressed import Opened
from chatpb._errors import os_error_text
from chatpb._mapping.canonical import canonical
from chatpb._rpc.status import is_error_status
from chatpb._stream.errors import find_error
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.models import ListedModel, ModelsRequest, named_model
from chatpb_server.core.upstream import (
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
    UpstreamRequest,
    UpstreamStream,
)
from chatpb_server.upstreams.events import answer_of, chunks_of
from chatpb_server.upstreams.registry import UpstreamSettingsError, UpstreamTable, register

_T = TypeVar("_T")

_SCHEME: Final = "replay:"
_OWNER: Final = "replay"
_PIECE: Final = 64 * 1024
_SUFFIXES: Final = (_endings.JSON, *_endings.JSON_LINES, _endings.EVENTS)


class ReplayError(UpstreamSettingsError):
    """A recording that cannot be replayed, with a text for the user."""


class ReplayUpstream:
    """An `Upstream` that answers with recordings, one after the other and then from the start.

    What is recorded as a stream is replayed as it is, and folded for a unary call; what is recorded
    as a completion is replayed as it is, and cut into chunks for a stream. A recorded error is an
    error.

    Args:
        path: A file, or a folder of files in the order of their names. ``.json`` is the JSON of a
            completion or an error, ``.sse`` the bytes of an event stream, ``.jsonl`` and
            ``.ndjson`` the chunks of a stream, one in each line. They can be compressed, with
            ``.gz`` or ``.zst`` after that. Files ``.request.json`` are skipped.

    Raises:
        ReplayError: There is no recording, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        recordings = [
            file
            for file in files
            if _kind_of(file) in _SUFFIXES
            and not _endings.bare(file.name).endswith(_endings.REQUEST)
        ]
        if not recordings:
            raise ReplayError(f"{path}: expected a recording: {', '.join(_SUFFIXES)}, or a folder")
        try:
            self._all = [_read(file) for file in recordings]
        except ModuleNotFoundError as error:  # zstd is an extra
            raise ReplayError(f"{path} cannot be replayed: {error}") from None
        except (OSError, ConversionError) as error:
            reason = os_error_text(error) if isinstance(error, OSError) else error
            raise ReplayError(f"{path} cannot be replayed: {reason}") from None
        self._recordings = itertools.cycle(self._all)
        self._models: Sequence[ListedModel] | None = None

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:  # noqa: ARG002 (not asked)
        """Answers with a whole completion, as `Upstream.create` says."""
        completion, stream = next(self._recordings)
        if completion is None:
            return UpstreamAnswer(_folded(stream))
        _raise_error(completion)
        return await answer_of(completion)

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        completion, stream = next(self._recordings)
        if completion is None:
            chunks = chunks_of(_each([stream]), max_event_bytes=request.max_event_bytes)
        else:
            _raise_error(completion)
            chunks = _chunks(completion)
        async with aclosing(chunks) as arrived:
            yield UpstreamStream(arrived)

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:  # noqa: ARG002
        """Lists the models that the recordings name."""
        if self._models is None:
            self._models = await asyncio.to_thread(_models_in, self._all)
        return self._models

    async def close(self) -> None:
        """Does nothing: there is nothing to free."""


def _kind_of(file: Path) -> str:
    """The ending of a file, without that of compression."""
    return Path(_endings.bare(file.name)).suffix


def _read(file: Path) -> tuple[bytes | None, bytes]:
    """A completion, or the bytes of a stream."""
    with file.open("rb") as stream:
        data = b"".join(Opened(str(file), stream, ReplayError).pieces())
    if _kind_of(file) == _endings.JSON:
        from_json(data)  # it is an object
        return data, b""
    if _kind_of(file) in _endings.JSON_LINES:
        lines = [line for line in data.splitlines() if line.strip()]
        data = b"".join(map(sse.event, (*lines, sse.DONE)))
    return None, data


def _models_in(recordings: Iterable[tuple[bytes | None, bytes]]) -> Sequence[ListedModel]:
    """The models of recordings, each once."""
    models: dict[str, ListedModel] = {}
    for completion, stream in recordings:
        answer = _first_chunk(stream) if completion is None else from_json(completion)
        if answer is not None and answer.model:
            model = named_model(answer.model, _OWNER, answer.created)
            models.setdefault(answer.model, model)
    return tuple(models.values())


def _first_chunk(stream: bytes) -> ChatCompletionChunk | None:
    """The first chunk of a stream that names its model."""
    decoder = sse.ChunkDecoder(max(len(stream), 1), allow_nan=True)
    for start in range(0, len(stream), _PIECE):
        with suppress(ConversionError, ValueError):
            for data in decoder.feed(stream[start : start + _PIECE]):
                chunk = ChatCompletionChunk.FromString(data)
                if chunk.model:
                    return chunk
    return None


def _folded(stream: bytes) -> bytes:
    decoder = sse.ChunkDecoder(max(len(stream), 1), allow_nan=True)
    try:
        chunks = decoder.feed(stream)
        while more := decoder.close():
            chunks += more
        if decoder.error is not None:
            raise UpstreamError(200, binary_to_json(decoder.error, ErrorResponse, allow_nan=True))
        completion = fold(map(ChatCompletionChunk.FromString, chunks))
    except (ConversionError, ValueError) as error:
        raise UpstreamDataError("could not be read: a recording that cannot be folded") from error
    return canonical(completion)


def _raise_error(completion: bytes) -> None:
    """Raises what was recorded in place of a completion, if it is an error."""
    found = find_error(completion)
    if found is None or not found.is_alone:
        return
    members: Any = orjson.loads(found.text)
    error = members.get("error", members)
    code = error.get("code") if isinstance(error, dict) else None
    http_status = code if isinstance(code, int) and is_error_status(code) else 400
    raise UpstreamError(http_status, completion)


async def _chunks(completion: bytes) -> AsyncGenerator[UpstreamChunks, None]:
    """The chunks that make a completion, and then the error that it has."""
    for part in unfold(from_json(completion)):
        yield UpstreamChunks([canonical(part)])
    found = find_error(completion)
    if found is not None:
        raise UpstreamError(200, found.text)


async def _each(items: Iterable[_T]) -> AsyncGenerator[_T, None]:
    for item in items:
        yield item


@register
class ReplayTable(UpstreamTable):
    """Recorded answers."""

    kind: ClassVar[str] = "a recording"
    form: ClassVar[str] = "replay:PATH"
    expected: ClassVar[str] = form
    about: ClassVar[str] = (
        "Recorded answers, in turn: .json, .jsonl, .ndjson and .sse files, which can be compressed"
        " (.gz, .zst), or a folder."
    )

    @classmethod
    def takes(cls, url: str) -> bool:
        """Whether a URL is ``replay:`` and a path."""
        return url.startswith(_SCHEME) and url != _SCHEME

    @classmethod
    def anchored(cls, url: str, folder: Path) -> str:
        """The URL, with a path that does not depend on the working directory."""
        return _SCHEME + str(folder / url.removeprefix(_SCHEME))

    def build(self, max_bytes: int) -> ReplayUpstream:  # noqa: ARG002 (they are read at the start)
        """Reads the recordings.

        Raises:
            ReplayError: There is no recording, or one that cannot be read.
        """
        return ReplayUpstream(Path(self.url.removeprefix(_SCHEME)))
