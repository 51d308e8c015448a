"""Recorded traffic, in the form in which its upstreams sent it.

Test modules use it as parameters. If CHATPB_CORPUS is not set, there are none, and pytest skips
the test:

    @pytest.mark.parametrize("recording", recordings.parameters(recordings.streams))
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from chatpb._cli.reading.input import open_source
from support.http_upstream import Answer, Framing, Writes, event, http_answer

_REQUEST = ".request.json"
_ERROR = ".error.json"
_STORED = ".stored.json"  # answers to calls that list, read and delete stored completions


@dataclass(frozen=True)
class Recording:
    """An answer to a request for a completion.

    Headers and status were not recorded; the status of an error is taken from its body.

    Attributes:
        path: The file.
        name: The names of its folder and of the file.
        status: The HTTP status.
        content_type: The value of the header content-type.
        body: The body. Of a stream that was recorded as JSON lines, what a server would have sent.
    """

    path: Path
    name: str
    status: int
    content_type: str
    body: bytes

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return self.content_type.startswith("text/event-stream")

    @cached_property
    def texts(self) -> list[bytes]:
        """The JSON texts in it: one, or those of the chunks of a stream."""
        with open_source(str(self.path)) as source:
            return [record.data for record in source.records()]

    @property
    def request(self) -> bytes | None:
        """The body of the request, if that was recorded too."""
        stem = self.path.name.removesuffix(_ERROR).removesuffix(self.path.suffix)
        path = self.path.with_name(stem + _REQUEST)
        return path.read_bytes() if path.exists() else None

    def answer(self, writes: Writes = "steps", framing: Framing = "chunked", **how: Any) -> Answer:
        """The same answer, for `HttpUpstream.answer`; see `http_upstream.http_answer`."""
        headers = {"content-type": self.content_type}
        return http_answer(
            self.body, status=self.status, headers=headers, framing=framing, writes=writes, **how
        )


def completions(folder: Path) -> Iterator[Recording]:
    """The completions that were not streamed."""
    for path in sorted(folder.rglob("*.json")):
        if not path.name.endswith((_REQUEST, _ERROR, _STORED)):
            yield _recording(folder, path, "application/json", path.read_bytes())


def errors(folder: Path) -> Iterator[Recording]:
    """The errors."""
    for path in sorted(folder.rglob("*" + _ERROR)):
        body = path.read_bytes()
        status = json.loads(body)["error"]["code"]
        yield _recording(folder, path, "application/json", body, status)


def streams(folder: Path) -> Iterator[Recording]:
    """The streams: the bytes as received, if recorded, or else an event stream of the chunks."""
    for path in sorted(folder.rglob("*")):
        body = path.read_bytes() if path.suffix in (".sse", ".jsonl") else b""
        if path.suffix == ".jsonl":
            lines = [line for line in body.splitlines() if line.strip()]
            body = b"".join(event(line) for line in [*lines, b"[DONE]"])
        if body:
            yield _recording(folder, path, "text/event-stream; charset=utf-8", body)


def requests(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The requests: a name and the body of each."""
    for path in sorted(folder.rglob("*" + _REQUEST)):
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def parameters(*kinds: Callable[[Path], Iterator[Recording]]) -> list[Any]:
    """The recordings that functions find in the folder CHATPB_CORPUS, for `parametrize`."""
    name = os.environ.get("CHATPB_CORPUS")
    if not name:
        return []
    return [pytest.param(found, id=found.name) for kind in kinds for found in kind(Path(name))]


def _recording(
    folder: Path, path: Path, content_type: str, body: bytes, status: int = 200
) -> Recording:
    return Recording(path, path.relative_to(folder).as_posix(), status, content_type, body)
