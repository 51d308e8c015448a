from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

DESCRIPTOR_SET: Final[bytes]
"""The serialized descriptor set of the schema that the extension was built for."""

INTERFACE: Final[bytes]
"""The text of this stub when the extension was built."""

_Node = tuple[
    list[tuple[int, int, bool, int]],
    list[tuple[int, int]],
    list[tuple[int, int, int]],
    list[tuple[int, int]],
    int,
]
_Shapes = tuple[
    tuple[int, int],
    tuple[int, bytes],
    tuple[int, int],
    bytes,
    tuple[int, int],
    bytes,
    int,
    tuple[bytes, bytes],
    bytes,
    list[bytes],
    list[tuple[bytes, int, str, int, list[tuple[bytes, int]]]],
    list[bytes],
]
_Buffers = list[npt.NDArray[np.uint8] | None]
"""What pyarrow takes and gives without a copy; None in the places of columns without a value."""

Refusal = tuple[str, str, int | None]
"""The reason, the path and the offset of a ConversionError."""

class Transcoder:
    def __init__(self, descriptor_set: bytes) -> None: ...
    def message_type(self, name: str) -> int | None: ...
    def json_to_binary(
        self, data: bytes, message_type: int, allow_nan: bool
    ) -> bytes | Refusal | None: ...
    def binary_to_json(
        self,
        data: bytes,
        message_type: int,
        allow_nan: bool,
        ignore_unknown_fields: bool,
        start: int = 0,
        end: int | None = None,
    ) -> bytes | Refusal | None: ...
    def json_size(
        self, data: bytes, message_type: int, allow_nan: bool, start: int, end: int
    ) -> int | None: ...
    def find_error(self, data: bytes, allow_nan: bool) -> Refusal | None: ...

class Batches:
    def __init__(
        self,
        transcoder: Transcoder,
        message_type: int,
        to_json: bool,
        allow_nan: bool,
        ignore_unknown_fields: bool,
        threads: int,
    ) -> None: ...
    def take(
        self, items: Iterator[object], patience: float | None
    ) -> tuple[list[object], list[tuple[int, int]], int, Exception | None]: ...
    def split(
        self, text: bytes, start: int
    ) -> tuple[list[object], list[tuple[int, int]], int, int]: ...

class Chain(Iterator[bytes]):
    def __init__(self, source: Iterator[Iterable[bytes]]) -> None: ...
    def __next__(self) -> bytes: ...

class Dicts:
    def __init__(self, transcoder: Transcoder) -> None: ...
    def to_binary(self, members: object, message_type: int, allow_nan: bool) -> bytes | None: ...
    def plain_json(
        self, data: bytes, message_type: int, allow_nan: bool, ignore_unknown_fields: bool
    ) -> bytes | None: ...

class ChunkStream:
    def __init__(self, max_event_bytes: int, allow_nan: bool) -> None: ...
    def feed(self, data: bytes) -> list[bytes] | Refusal: ...
    def close(self) -> list[bytes] | Refusal: ...
    def state(self) -> tuple[bytes | None, bool, bool]: ...

class Shredder:
    def __init__(
        self,
        columns: list[tuple[str, int, list[int]]],
        nodes: list[_Node],
        token: tuple[int, int, int, int, int],
        alternative: tuple[int, int, int, int, int],
        repeats: bool,
        folded: int,
    ) -> None: ...
    def shred(self, records: list[tuple[bytes, bytes | None]]) -> _Buffers | int: ...
    def shred_json(
        self, transcoder: Transcoder, message_type: int, field: int, texts: list[bytes]
    ) -> _Buffers | int: ...
    def shred_lines(
        self, transcoder: Transcoder, shapes: _Shapes, text: bytes, rows: int, size: int
    ) -> list[tuple[_Buffers | None, int, int, int, int]]: ...
    def assemble(self, rows: int, buffers: _Buffers) -> list[bytes] | None: ...
    def assemble_lines(
        self,
        transcoder: Transcoder,
        message_type: int,
        field: int,
        rows: int,
        buffers: _Buffers,
    ) -> bytes | None: ...
