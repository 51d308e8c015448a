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
