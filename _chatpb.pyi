from typing import Final

DESCRIPTOR_SET: Final[bytes]
"""The serialized descriptor set of the schema that the extension was built for."""

_Node = tuple[
    list[tuple[int, int, bool]],
    list[tuple[int, bool, int]],
    list[int],
    list[tuple[int, int, int, int]],
    list[int],
]

class Transcoder:
    def __init__(self, descriptor_set: bytes) -> None: ...
    def message_type(self, name: str) -> int | None: ...
    def json_to_binary(self, data: bytes, message_type: int, allow_nan: bool) -> bytes | None: ...
    def binary_to_json(self, data: bytes, message_type: int, allow_nan: bool) -> bytes | None: ...
    def find_fault(
        self, data: bytes, allow_nan: bool
    ) -> tuple[str, list[bytes | int], int] | None: ...

class ChunkStream:
    def __init__(
        self,
        transcoder: Transcoder,
        message_type: int,
        suspects: list[bytes],
        max_event_bytes: int,
        allow_nan: bool,
    ) -> None: ...
    def feed(self, data: bytes) -> tuple[list[bytes | tuple[bytes, str]], bool]: ...
    def close(self) -> tuple[list[bytes | tuple[bytes, str]], bool]: ...

class Shredder:
    def __init__(
        self,
        columns: list[tuple[str, bool, list[int]]],
        nodes: list[_Node],
        token: tuple[int, int, int, int, int],
        alternative: tuple[int, int, int, int, int],
        repeats: bool,
        folded: int,
    ) -> None: ...
    def shred(self, records: list[tuple[bytes, bytes | None]]) -> list[bytes | None] | int: ...
    def shred_json(
        self, transcoder: Transcoder, message_type: int, field: int, texts: list[bytes]
    ) -> list[bytes | None] | int: ...
    def assemble(self, rows: int, buffers: list[bytes | None]) -> list[bytes] | None: ...
    def assemble_lines(
        self,
        transcoder: Transcoder,
        message_type: int,
        field: int,
        rows: int,
        buffers: list[bytes | None],
    ) -> bytes | None: ...
