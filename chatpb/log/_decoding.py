"""zstd that is no log, decompressed frame by frame; what a log needs is in `_frames`."""

from __future__ import annotations

from typing import Any, Final

import zstandard

#: The error for data that cannot be decompressed.
DECODING_ERROR: Final[type[Exception]] = zstandard.ZstdError


def frame_decoder() -> Any:
    """An object that decompresses one frame, with the methods of `zlib.decompressobj`."""
    return zstandard.ZstdDecompressor().decompressobj()
