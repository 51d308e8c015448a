"""Which of the two implementations of the mapping is in use.

The reference is pure Python and always available. The native one, a Rust extension, gives the same
results and the same errors.
"""

from __future__ import annotations

import functools
import os
import pkgutil
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

if TYPE_CHECKING:
    from _chatpb import ChunkStream, Dicts, Transcoder

_VARIABLE: Final = "CHATPB_IMPLEMENTATION"
_ROOT: Final = os.path.abspath(os.path.join(__file__, "..", "..", ".."))


def _load() -> Transcoder | None:
    wanted = os.environ.get(_VARIABLE, "")
    if wanted not in ("", "python", "native"):
        raise ImportError(f"{_VARIABLE} is {wanted!r}; expected python or native")
    if wanted == "python":
        return None
    schema = pkgutil.get_data("chatpb.v1", "descriptor_set.binpb")
    assert schema is not None
    try:
        import _chatpb
    except ModuleNotFoundError as error:
        if wanted == "native":
            raise ImportError(
                f"{_VARIABLE} asks for the native implementation, which was not built: install"
                " chatpb where cargo is on the PATH"
            ) from error
        return None
    except ImportError as error:
        _refuse(f"the native extension _chatpb cannot be loaded: {error}", wanted)
        return None
    for what, expected, built_for in (
        ("schema", schema, getattr(_chatpb, "DESCRIPTOR_SET", b"")),
        ("interface", _interface(), getattr(_chatpb, "INTERFACE", b"")),
    ):
        if expected not in (None, built_for):
            _refuse(
                f"the native extension _chatpb was built for {what} {_digest(built_for)}, but"
                f" chatpb has {what} {_digest(expected)}",
                wanted,
            )
            return None
    return _chatpb.Transcoder(schema)


def _interface() -> bytes | None:
    """The interface that chatpb calls, a stub of types next to it; None if it is not installed."""
    for name in ("_chatpb.pyi", "_chatpb-stubs/__init__.pyi"):  # a checkout, a wheel
        try:
            with open(os.path.join(_ROOT, name), "rb") as file:
                return file.read()
        except OSError:
            continue
    return None


def _refuse(problem: str, wanted: str) -> None:
    """Warns of an extension that cannot be used; raises if it is required."""
    import importlib.util
    import warnings

    remedy = f"{problem}: reinstall chatpb where cargo is on the PATH"
    if wanted == "native":
        raise ImportError(f"{remedy} ({_VARIABLE} requires the extension)")
    # In a checkout, an extension of an earlier build is kept if the next build fails.
    found = importlib.util.find_spec("_chatpb")
    warnings.warn(
        f"{remedy}, or remove {found.origin if found else '_chatpb'}; until then chatpb converts"
        " in pure Python, which is slower",
        RuntimeWarning,
        stacklevel=2,
    )


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()[:12] if content else "(unknown)"


def _dicts() -> Dicts | None:
    if transcoder is None:
        return None
    from _chatpb import Dicts

    return Dicts(transcoder)


transcoder: Final = _load()
dicts: Final = _dicts()
implementation: Final = "python" if transcoder is None else "native"


def native_type(message_type: type[Message]) -> int | None:
    """The transcoder's number for a message type; None if the reference converts it."""
    return _number(message_type.DESCRIPTOR.full_name)


@functools.cache
def _number(name: str) -> int | None:
    assert transcoder is not None
    return transcoder.message_type(name)


def native_chunk_stream(max_event_bytes: int, allow_nan: bool) -> ChunkStream | None:
    """The native decoder of event streams; None if it is not in use."""
    if transcoder is None:
        return None
    from _chatpb import ChunkStream

    return ChunkStream(max_event_bytes, allow_nan)
