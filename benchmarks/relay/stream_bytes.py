"""Measure a stream's bytes: as server-sent events, in gRPC, and in gRPC with compact chunks.

Without files, of a stream that is made from a fixed seed. Every chunk counts as a message of its
own, as where a model is slower than the network: with 5 bytes that gRPC puts before it and 9 of an
HTTP/2 frame. Of the events the body counts, and nothing around it. What opens and closes a call
counts on neither side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from chatpb._stream.compact import Compactor, Restorer
from chatpb.sse import ChunkDecoder
from chatpb.v1 import ChatCompletionChunk, StreamChatCompletionResponse
from common.documents import stream
from common.report import show
from common.tables import Table

OUTPUT: Final = Path("build/bench-stream.json")
FRAME_BYTES: Final = 5 + 9
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 2
_ENDINGS: Final = (".sse", ".jsonl")
EXAMPLES: Final = """\
examples:
  python -m relay.stream_bytes               a stream that is made from a fixed seed
  python -m relay.stream_bytes recordings/   your own: .sse, or .jsonl with a chunk a line
"""


def main() -> int:
    """Measures, prints and writes what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a file or a folder")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"JSON, by default {OUTPUT}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    args = parser.parse_args()
    rounds = QUICK_ROUNDS if args.quick else ROUNDS
    try:
        results = [measure(name, body, rounds) for name, body in bodies(args.files)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    results = [result for result in results if result["chunks"]]
    if not results:
        parser.error("there is no stream in these files")
    show([table(results)])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def bodies(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    """The event streams in files and folders: a name and the body of each."""
    if not paths:
        yield "generated", events(stream())
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            if file.suffix == ".jsonl":
                yield file.name, events(filter(bytes.strip, file.read_bytes().splitlines()))
            elif file == path or file.suffix in _ENDINGS:
                yield file.name, file.read_bytes()


def events(texts: Iterator[bytes]) -> bytes:
    """Chunks as a server sends them."""
    return b"".join(b"data: %b\n\n" % text for text in (*texts, b"[DONE]"))


def measure(name: str, body: bytes, rounds: int) -> dict[str, Any]:
    """The bytes of a stream in each form, and what compacting costs.

    Raises:
        ValueError: A chunk is not a JSON object, or did not come back equal.
    """
    decoder = ChunkDecoder()
    chunks = decoder.feed(body)
    while more := decoder.close():
        chunks += more
    whole = [StreamChatCompletionResponse(chunks=[message(chunk)]) for chunk in chunks]
    compact = compacted(chunks)
    restored = [chunk.SerializeToString(deterministic=True) for chunk in restore(compact)]
    if restored != [part.chunks[0].SerializeToString(deterministic=True) for part in whole]:
        raise ValueError(f"{name}: chunks did not come back")
    return {
        "stream": name,
        "chunks": len(chunks),
        "sse_bytes": len(body),
        "grpc_bytes": sum(part.ByteSize() + FRAME_BYTES for part in whole),
        "compact_bytes": sum(part.ByteSize() + FRAME_BYTES for part in compact),
        "compact_us": microseconds(lambda: compact_only(chunks), rounds),
        "restore_us": microseconds(lambda: sum(1 for _ in restore(compact)), rounds),
    }


def message(chunk: bytes) -> ChatCompletionChunk:
    """A chunk as a message."""
    return ChatCompletionChunk.FromString(chunk)


def compacted(chunks: list[bytes]) -> list[StreamChatCompletionResponse]:
    """The responses for chunks that arrive one by one."""
    compactor = Compactor()
    return [
        StreamChatCompletionResponse(
            chunks=map(message, whole), compact_chunks=map(message, compact)
        )
        for chunk in chunks
        for whole, compact in compactor.add([chunk])
    ]


def compact_only(chunks: list[bytes]) -> None:
    """What compact streams cost the relay."""
    compactor = Compactor()
    for chunk in chunks:
        compactor.add([chunk])


def restore(responses: list[StreamChatCompletionResponse]) -> Iterator[ChatCompletionChunk]:
    """What compact streams cost the client."""
    restorer = Restorer()
    for response in responses:
        yield from restorer.add(response)


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """The least time of some rounds."""
    times = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times) * 1e6


def table(results: list[dict[str, Any]]) -> Table:
    """Bytes and microseconds for each chunk, and the compact form's share of the events' bytes."""
    header = ["", "chunks", "SSE", "gRPC", "gRPC\ncompact", "compact\n/ SSE"]
    found = Table("Bytes for each chunk", [*header, "compacting\nµs", "restoring\nµs", ""])
    kinds = ("sse", "grpc", "compact")
    rows = [*results, total(results)] if len(results) > 1 else results
    for row in rows:
        sizes = [f"{row[f'{kind}_bytes'] / row['chunks']:.1f}" for kind in kinds]
        share = f"{row['compact_bytes'] / row['sse_bytes']:.1%}"
        times = [f"{row[f'{kind}_us'] / row['chunks']:.1f}" for kind in ("compact", "restore")]
        name = row["stream"][-60:]
        found.rows.append([name, f"{row['chunks']:,}", *sizes, share, *times, ""])
    return found


def total(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of all streams."""
    names = [name for name in results[0] if name != "stream"]
    return {"stream": "total", **{name: sum(row[name] for row in results) for name in names}}


if __name__ == "__main__":
    sys.exit(main())
