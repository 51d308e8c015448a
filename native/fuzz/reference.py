"""Answers the fuzz targets with what the reference gives; they start it.

A frame is a length of four bytes, the lowest first, and as many bytes. A request is three frames:
the form of an input (json or binary), the full name of its message type, and the input. The answer
is two frames, without and with ``allow_nan``: ``=`` and the result, or ``!`` and the error.

An answer is written at once, and the pipe is large enough for it: the target reads it at once, too.
Otherwise it would read as often as the timing has it, which would count as other coverage, and the
same seed would not give the same run.
"""

from __future__ import annotations

import fcntl
import io
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import chatpb
from mapping.fuzz import Case, Options, reference
from support.golden_files import message_class

_PIPE_BYTES: Final = 1 << 20


def main() -> None:
    """Answers until there is no more request."""
    if chatpb.implementation != "python":
        sys.exit("the reference is compared with: set CHATPB_IMPLEMENTATION=python")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    source = sys.stdin.buffer
    sink = io.BufferedWriter(io.FileIO(sys.stdout.fileno(), "w", closefd=False), _PIPE_BYTES)
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    while form := _frame(source):
        kind = message_class(_frame(source).decode())
        case = Case(form.decode(), kind, _frame(source))
        for allow_nan in (False, True):
            found = reference(case, Options(allow_nan=allow_nan))
            answer = b"=" + found if isinstance(found, bytes) else b"!" + _said(found)
            sink.write(len(answer).to_bytes(4, "little") + answer)
        sink.flush()


def _frame(source: BinaryIO) -> bytes:
    """The next frame; empty at the end."""
    return source.read(int.from_bytes(source.read(4), "little"))


def _said(error: chatpb.ConversionError) -> bytes:
    """Path, offset and reason."""
    return str(error).encode("utf-8", "backslashreplace")


if __name__ == "__main__":
    main()
