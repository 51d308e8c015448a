"""Which input is in a table already.

A log is recognised by the identifier in its header, any other file by its content: the digest of
its first bytes finds it, the digest of all bytes that were read proves it. So a file that was moved
is recognised, and another file with the same beginning is not mistaken for it. Two files with the
same bytes are both read if they come together.

A table keeps this as app transactions of Delta, which have an ID and a number each:

- ``chatpb:log:ID``: how many bytes of a log are in the table, and ``chatpb:message:ID``, if it is
  not 0, how many messages of the frame that begins there.
- ``chatpb:store:ID``: the number of the last completion of a store that is in the table.
- ``chatpb:table:ID``: the version up to which another table is in the table.
- ``chatpb:file:N:DIGEST:K``: how many bytes of a file, which begins with N bytes of that digest;
  ``chatpb:proof:N:DIGEST:K``: 62 bits of the digest of all of them. K is a number from 0 for each
  of several such files. No bytes mean that there is no such file any more: it has grown and has
  another ID.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

#: The IDs of app transactions begin so.
PREFIX: Final = "chatpb:"
_HEAD: Final = 4096  # bytes that find a file
_BLOCK: Final = 1 << 20
_LOG: Final = f"{PREFIX}log:"
_MESSAGE: Final = f"{PREFIX}message:"
_STORE: Final = f"{PREFIX}store:"
_TABLE: Final = f"{PREFIX}table:"
_FILE: Final = f"{PREFIX}file:"
_PROOF: Final = f"{PREFIX}proof:"
_PROOF_BITS: Final = 62


class _Entry(NamedTuple):
    """A file that is in the table: its key, how much of it, and what proves that it is that one."""

    key: str
    end: int
    proof: int


@dataclass(frozen=True)
class NewFiles:
    """Files of which nothing was in the table: finds out whether somebody else takes them too.

    What a table notes of a file shorter than `_HEAD` has another ID once the file has grown, so two
    that take different lengths of it have no ID in common. Can be pickled.

    Attributes:
        paths: The files.
    """

    paths: tuple[str, ...]

    def include(self, names: Iterable[str]) -> bool:
        """Whether one of some app transactions is of a file that may be one of these.

        Args:
            names: The IDs of the app transactions.
        """
        heads = {
            name.removeprefix(_FILE).rpartition(":")[0] for name in names if name.startswith(_FILE)
        }
        lengths = {int(head.partition(":")[0]) for head in heads}
        for path in self.paths if heads else ():
            try:
                with open(path, "rb") as stream:
                    begin = stream.read(_HEAD)
            except OSError:  # it is unknown
                return True
            if any(_key(begin[:length]) in heads for length in lengths):
                return True
        return False


#: Digests of a file up to each of some offsets, which are in order, and the lines up to there, if
#: they are to be counted.
Proofs = Callable[[str, Sequence[int], bool], Mapping[int, tuple[int, int]]]


class Known:
    """The input that a table has. Each is used up when it is met again.

    Args:
        transactions: The app transactions of the table whose IDs begin with `PREFIX`.
        proofs: What gives the digests of files. Default: they are read.
    """

    def __init__(self, transactions: Mapping[str, int], proofs: Proofs | None = None) -> None:
        self._before = transactions
        self._proofs = proofs or proofs_of
        self._taken: dict[str, int] = {}
        self._files: dict[str, list[_Entry]] = {}
        self._counts: dict[str, int] = {}  # of the files with the same beginning, used up or not
        self._met: list[_Entry] = []
        self._new: list[str] = []
        for name, end in transactions.items():
            if name.startswith(_FILE):
                key = name.removeprefix(_FILE)
                head, _, number = key.rpartition(":")
                self._counts[head] = max(self._counts.get(head, 0), int(number) + 1)
                if end:
                    proof = transactions.get(_PROOF + key, 0)
                    self._files.setdefault(head, []).append(_Entry(key, end, proof))
        self._lengths = {int(head.partition(":")[0]) for head in self._files}

    def taken(self) -> dict[str, int]:
        """The app transactions to commit with the records."""
        return dict(self._taken)

    def new_files(self) -> NewFiles:
        """The files that `take` has noted."""
        return NewFiles(tuple(self._new))

    def log(self, file_id: str) -> tuple[int, int] | None:
        """Where to continue in a log: the offset of a frame, and the index of a message in it."""
        offset = self._before.get(_LOG + file_id)
        return None if offset is None else (offset, self._before.get(_MESSAGE + file_id, 0))

    def take_log(self, file_id: str, offset: int, index: int) -> None:
        """Notes how far a log has been read."""
        self._taken[_LOG + file_id] = offset
        if index or _MESSAGE + file_id in self._before or _MESSAGE + file_id in self._taken:
            self._taken[_MESSAGE + file_id] = index

    def table(self, identifier: str) -> int | None:
        """Up to which version another table has been added; None if it has not."""
        return self._before.get(_TABLE + identifier)

    def take_table(self, identifier: str, version: int) -> None:
        """Notes that another table has been added up to a version."""
        self._taken[_TABLE + identifier] = version

    def store(self, identifier: str) -> int:
        """The number of the last completion of a store that has been added; 0 if none has."""
        key = _STORE + identifier
        return self._taken.get(key, self._before.get(key, 0))

    def take_store(self, identifier: str, number: int) -> None:
        """Notes up to which number a store has been read."""
        self._taken[_STORE + identifier] = number

    def meet(self, path: str, *, whole: bool) -> tuple[int, int] | None:
        """How much of a file is in the table: its lines and bytes; None if nothing is.

        Args:
            path: The file.
            whole: Whether only the same file counts, rather than one that has grown since.
        """
        found = self._like(path, whole=whole)
        proofs = self._proofs(path, sorted(found), True)
        for end in sorted(found, reverse=True):
            for key, entry in found[end]:
                if end in proofs and entry.proof == proofs[end][0]:
                    self._files[key].remove(entry)
                    self._met.append(entry)
                    return proofs[end][1], end
        return None

    def ends(self, path: str, *, whole: bool) -> list[int]:
        """The offsets for which `meet` needs the digests of a file."""
        return sorted(self._like(path, whole=whole))

    def _like(self, path: str, *, whole: bool) -> dict[int, list[tuple[str, _Entry]]]:
        """The files that a file may be, or have been, by how much of them was read."""
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
        found: dict[int, list[tuple[str, _Entry]]] = {}
        for length in self._lengths:
            if length <= len(head):
                key = _key(head[:length])
                for entry in self._files.get(key, ()):
                    if entry.end == size or (entry.end < size and not whole):
                        found.setdefault(entry.end, []).append((key, entry))
        return found

    def take(self, path: str, end: int) -> None:
        """Notes a file that has been read up to a byte."""
        with open(path, "rb") as stream:
            head = _key(stream.read(min(_HEAD, end)))
        number = self._counts.get(head, 0)
        self._counts[head] = number + 1
        self._new.append(path)
        self._taken[f"{_FILE}{head}:{number}"] = end
        self._taken[f"{_PROOF}{head}:{number}"] = self._proof(path, end)

    def take_more(self, path: str, end: int) -> None:
        """Notes, in place of the file of the last `meet`, that it has been read up to a byte."""
        entry = self._met.pop()
        with open(path, "rb") as stream:
            head = _key(stream.read(min(_HEAD, end)))
        if entry.key.rpartition(":")[0] != head:
            self._taken[_FILE + entry.key] = 0
            self.take(path, end)
            return
        self._taken[_FILE + entry.key] = end
        self._taken[_PROOF + entry.key] = self._proof(path, end)

    def _proof(self, path: str, end: int) -> int:
        return self._proofs(path, [end], False).get(end, (0, 0))[0]


def log_id(path: str, file_id: str | None) -> str:
    """The identifier of a log: that of its header, or one for a log whose header has none."""
    if file_id:
        return file_id
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read(_HEAD)).hexdigest()


def _key(head: bytes) -> str:
    return f"{len(head)}:{hashlib.sha256(head).hexdigest()[:32]}"


def proofs_of(
    path: str,
    ends: Sequence[int],
    count_lines: bool = True,
) -> dict[int, tuple[int, int]]:
    """Digests of a file up to each of some offsets, which are in order, and the lines up to there.

    The last line counts if it has no line break. Lines are counted unless nobody needs them.
    """
    proofs = {}
    if ends:
        digest = hashlib.sha256()
        at = lines = 0
        last = b""
        with open(path, "rb") as stream:
            for end in ends:
                while at < end and (block := stream.read(min(_BLOCK, end - at))):
                    digest.update(block)
                    at += len(block)
                    lines += block.count(b"\n") if count_lines else 0
                    last = block[-1:]
                if at == end:
                    bits = int.from_bytes(digest.digest()[:8], "big") >> 64 - _PROOF_BITS
                    proofs[end] = bits, lines + (last not in (b"", b"\n"))
    return proofs
