"""Record answers of llama.cpp with a real model, which the benchmarks measure next to made-up ones.

`make recording` installs llama.cpp and the model, and writes the files anew.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import zstandard

from chatpb.sse import DONE, Decoder
from convert.inputs import RECORDED, RECORDINGS
from support.llama import VARIABLE, folder, serving

_LEVEL: Final = 22
_MINUTES: Final = 20


def main() -> int:
    """Asks for each recording, and writes it."""
    environment = folder()
    if environment is None:
        sys.exit(f"{VARIABLE} names no environment with llama.cpp: make recording")
    with serving(environment) as llama:
        for each in RECORDED:
            request = _request(each.tokens, is_stream=each.is_stream)
            body = _ask(llama.url, request)
            text = b"".join(_lines(body)) if each.is_stream else body
            path = RECORDINGS / each.file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zstandard.ZstdCompressor(_LEVEL).compress(text))
            print(f"{path.name}: {len(text):,} bytes, {path.stat().st_size:,} compressed")
    return 0


def _request(tokens: int, *, is_stream: bool) -> dict[str, Any]:
    # The model was not taught to chat, but it goes on with a text that has begun.
    messages = [
        {"role": "user", "content": "Tell me how rain forms."},
        {"role": "assistant", "content": "Rain begins with water that rises from the sea, and"},
    ]
    return {
        "model": "gemma-3-270m",
        "messages": messages,
        "seed": 1,
        "max_tokens": tokens,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 20,
        **({"stream": True, "stream_options": {"include_usage": True}} if is_stream else {}),
    }


def _ask(url: str, request: dict[str, Any]) -> bytes:
    call = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(request).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=_MINUTES * 60) as answer:
        body: bytes = answer.read()
        return body


def _lines(body: bytes) -> Iterator[bytes]:
    """The chunks of a stream, one in a line."""
    decoder = Decoder()
    for event in (*decoder.feed(body), *decoder.close()):
        if event.data != DONE:
            yield event.data + b"\n"


if __name__ == "__main__":
    sys.exit(main())
