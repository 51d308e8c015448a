"""The endings of file names, and what each of them means."""

from __future__ import annotations

from typing import Final

LOG: Final = ".chatpb.zst"
PARQUET: Final = ".parquet"
JSON: Final = ".json"
JSON_LINES: Final = (".jsonl", ".ndjson")
EVENTS: Final = ".sse"

# JSON whose name says what it is; the rest of the name is that of the answer it belongs to.
REQUEST: Final = ".request.json"
ERROR: Final = ".error.json"

#: What may follow the others, except that of logs and tables.
COMPRESSED: Final = (".gz", ".zst")


def bare(name: str) -> str:
    """The name of a file without the ending of compression."""
    return next((name.removesuffix(end) for end in COMPRESSED if name.endswith(end)), name)


def compressible(endings: tuple[str, ...]) -> tuple[str, ...]:
    """Endings, and the same with each kind of compression."""
    return tuple(end + more for end in endings for more in ("", *COMPRESSED))
