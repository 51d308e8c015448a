"""Lines of files that are compressed, or not."""

from __future__ import annotations

import gzip
import io

import pytest
import zstandard

from chatpb._compressed import Opened

LONG = b"x" * 200_000
TEXTS = [b"", b"\n", b"a", b"a\n", b"a\n\nb\r\nc", LONG + b"\n" + LONG, (b"ab\n" * 40_000)[:-1]]


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"]
)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_lines(compress: type[bytes], text: bytes) -> None:
    def opened() -> Opened:
        return Opened("f", io.BufferedReader(io.BytesIO(compress(text))), ValueError)

    lines = text.split(b"\n")
    assert (lines if lines[-1] else lines[:-1]) == list(opened().lines())
    assert text == b"".join(opened().pieces())
    assert opened().is_compressed == (compress is not bytes)


def test_errors_are_the_callers() -> None:
    with pytest.raises(ValueError, match=r"^f: damaged gzip: "):
        list(Opened("f", io.BytesIO(gzip.compress(b"x")[:12] + b"\xff" * 9), ValueError).lines())
    with pytest.raises(ValueError, match=r"^f: cut zstd"):
        list(Opened("f", io.BytesIO(zstandard.compress(LONG)[:9]), ValueError).lines())
    with pytest.raises(ValueError, match=r"^f: xz, which is not read$"):
        Opened("f", io.BytesIO(b"\xfd7zXZ\0x"), ValueError)
