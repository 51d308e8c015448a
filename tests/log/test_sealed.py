"""Encrypted logs: what is secret, what is known without the key, and what is noticed."""

from __future__ import annotations

import io
import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from google.protobuf.proto import parse_length_prefixed

from chatpb._wire import varint_bytes
from chatpb.log import (
    SUFFIX,
    Damage,
    DamagedLogError,
    LogError,
    LogKeyError,
    LogWriter,
    Sync,
    _headers,
    frames,
    header,
    read,
    recover,
)
from chatpb.log._frames import Encoder
from chatpb.v1 import CompletionRecord
from support.limits import SOAK
from support.log_files import NAME, contents, frame_offsets, keys_file, record, records, write

PLAIN = Encoder(3)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with one key."""
    return keys_file(tmp_path / "keys", "k1")


@pytest.fixture
def path(tmp_path: Path, keys: Path) -> Path:
    """An encrypted log of five records, each in a frame of its own."""
    write(tmp_path / NAME, records(5, 60), keys=keys)
    return tmp_path / NAME


def split(path: Path) -> list[bytes]:
    """The frames of a log; the first is the header's."""
    data = path.read_bytes()
    return [data[start:end] for start, end in itertools.pairwise(frame_offsets(path))]


def messages_in(data: bytes) -> list[CompletionRecord]:
    """What `zstd -dc` and a reader of delimited messages give."""
    decompressor = zstandard.ZstdDecompressor()
    with decompressor.stream_reader(data, read_across_frames=True) as reader:
        stream = io.BytesIO(reader.read())
    found = []
    while (message := parse_length_prefixed(CompletionRecord, stream)) is not None:
        found.append(message)
    return found


def framed(message: CompletionRecord) -> bytes:
    """A frame with a message, and a right checksum."""
    return PLAIN.encode([message.SerializeToString()])


def damages_of(path: Path, keys: Path | None) -> tuple[list[bytes], list[Damage]]:
    """What can be read of a damaged log, and the damage; both by its frames only, without keys."""
    damages: list[Damage] = []
    if keys is None:
        for _ in frames(path, skip_damage=True, on_damage=damages.append):
            pass
        return [], damages
    entries = read(path, skip_damage=True, on_damage=damages.append, keys=keys)
    return [entry.data for entry in entries], damages


@pytest.mark.parametrize("is_directory", [False, True])
def test_records_come_back_and_nothing_else_tells_them(
    tmp_path: Path, keys: Path, is_directory: bool
) -> None:
    canary = b"the-canary-sings"
    data = [
        CompletionRecord(call_id=str(number), labels={"text": canary.decode()}).SerializeToString()
        for number in range(100)
    ]
    path = tmp_path / ("logs" if is_directory else NAME)
    if is_directory:
        path.mkdir()
    write(path, data, 500, keys)
    assert data == contents(path, keys)
    for file in path.iterdir() if is_directory else [path]:
        found = messages_in(file.read_bytes())
        assert ["log_header"] == [field.name for field, _ in found[0].ListFields()]
        assert {"sealed_frame"} == {
            field.name for message in found[1:] for field, _ in message.ListFields()
        }
        decompressed = b"".join(message.SerializeToString() for message in found)
        for text in (canary, canary[:8], b"canary"):
            assert text not in file.read_bytes()
            assert text not in decompressed
    places = [entry.position for entry in read(path, keys=keys)]
    for number in (0, 1, 37, 99):  # from the middle of the file, and of a frame
        entries = read(path, start=places[number], keys=keys)
        assert data[number:] == [entry.data for entry in entries]


def test_what_is_known_without_the_key(path: Path, keys: Path) -> None:
    encryption = header(path).encryption
    assert ("AES-256-GCM", "k1") == (encryption.cipher, encryption.key_id)
    expected = [(0, None), *[(1, "k1")] * 5]
    assert expected == [(frame.record_count, frame.key_id) for frame in frames(path)]
    assert path.stat().st_size == sum(frame.size for frame in frames(path))
    expected_text = r"log.chatpb.zst: encrypted with the key 'k1'; pass the file .*: keys=FILE$"
    with pytest.raises(LogKeyError, match=expected_text) as caught:
        contents(path)
    assert "k1" == caught.value.key_id
    with pytest.raises(LogKeyError, match="to append to it, pass a file of keys"):
        LogWriter(path)
    assert records(5, 60) == contents(path, keys)


def test_large_records_are_encrypted_in_pieces(tmp_path: Path, keys: Path) -> None:
    data = records(3, 1_500_000)
    write(tmp_path / NAME, data, keys=keys)
    assert data == contents(tmp_path / NAME, keys)


def test_no_key_and_no_nonce_is_used_twice(tmp_path: Path, keys: Path) -> None:
    for number in range(3):
        for name in (NAME, f"other{SUFFIX}"):
            write(tmp_path / name, [record(number)] * 3, keys=keys)
    data = (tmp_path / NAME).read_bytes() + (tmp_path / f"other{SUFFIX}").read_bytes()
    found = messages_in(data)
    salts = [m.log_header.encryption.salt for m in found if m.HasField("log_header")]
    sealed = [m.sealed_frame for m in found if m.HasField("sealed_frame")]
    assert (6, 18) == (len(set(salts)), len({frame.nonce for frame in sealed}))
    assert 6 == len({frame.header_sha256 for frame in sealed})
    assert 18 == len({frame.ciphertext[:16] for frame in sealed})


@pytest.mark.parametrize("with_key", [True, False])
def test_cut_at_any_byte(path: Path, keys: Path, with_key: bool) -> None:
    data = records(5, 60)
    whole = path.read_bytes()
    start = frame_offsets(path)[-2]
    for length in range(start, len(whole), 1 if SOAK else 3 if with_key else 8):
        path.write_bytes(whole[:length])
        expected = [] if length == start else [(start, length - start, True)]
        found, damages = damages_of(path, keys if with_key else None)
        assert expected == [(damage.offset, damage.size, damage.is_torn) for damage in damages]
        assert not with_key or data[:-1] == found
        assert (damages[0] if damages else None) == recover(path)  # which needs no key
        assert start == path.stat().st_size
        if with_key and length % (8 if SOAK else 48) == 0:
            write(path, [record(9)], keys=keys)
            assert [*data[:-1], record(9)] == contents(path, keys)


def test_every_byte_flipped(path: Path, keys: Path) -> None:
    data = records(5 if SOAK else 2, 60)
    path.unlink()
    write(path, data, keys=keys)
    whole = path.read_bytes()
    offsets = frame_offsets(path)
    rng = random.Random(6)
    harmless = 0
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        found, damages = damages_of(path, keys)
        assert (at % 4 and not SOAK) or damages == damages_of(path, None)[1]
        if not damages:
            assert data == found
            harmless += 1
            continue
        frame = max(number for number, offset in enumerate(offsets) if offset <= at)
        # Of the frame, and of no other, the record is lost; frame 0 is the header, which says
        # nothing that the others need.
        assert [item for number, item in enumerate(data) if number != frame - 1] == found
        assert [(offsets[frame], offsets[frame + 1])] == [(d.offset, d.end) for d in damages]
        assert frame == len(data) or not damages[0].is_torn
    assert harmless <= 2 * (len(data) + 1)  # a bit of each frame's header means nothing


def changed(parts: list[bytes], number: int, change: Callable[[CompletionRecord], None]) -> None:
    """Changes a frame's message and makes its checksum right again."""
    (message,) = messages_in(parts[number])
    change(message)
    parts[number] = framed(message)


def set_sealed(**fields: object) -> Callable[[CompletionRecord], None]:
    """Sets fields of an encrypted frame."""

    def change(message: CompletionRecord) -> None:
        for name, value in fields.items():
            setattr(message.sealed_frame, name, value)

    return change


def flip_ciphertext(message: CompletionRecord) -> None:
    data = bytearray(message.sealed_frame.ciphertext)
    data[len(data) // 2] ^= 1
    message.sealed_frame.ciphertext = bytes(data)


@pytest.mark.parametrize(
    ("change", "reason", "is_noticed_without"),
    [
        (flip_ciphertext, "the key 'k1' does not open it", False),
        (set_sealed(ciphertext=b"x" * 15), "without the tag", True),
        (set_sealed(nonce=b"x" * 12), "the key 'k1' does not open it", False),
        (set_sealed(nonce=b""), "without the tag or the nonce", True),
        (set_sealed(record_count=2), "the key 'k1' does not open it", False),
        (set_sealed(offset=7), "not where it was written", True),
        (set_sealed(offset=1 << 40), "not where it was written", True),
        (set_sealed(header_sha256=b"x" * 32), "belongs to another header", True),
        (set_sealed(key_id="k9"), "belongs to another header", True),
    ],
    ids=["ciphertext", "short", "nonce", "no nonce", "count", "offset", "far", "header", "key"],
)
def test_a_frame_that_was_changed(
    path: Path,
    keys: Path,
    change: Callable[[CompletionRecord], None],
    reason: str,
    is_noticed_without: bool,
) -> None:
    parts = split(path)
    changed(parts, 3, change)
    path.write_bytes(b"".join(parts))
    found, (damage, *_) = damages_of(path, keys)
    data = records(5, 60)
    # A length that has changed moves the frames behind, which is noticed, too.
    assert data[:2] == found[:2]
    assert data[2] not in found
    assert reason in damage.reason
    assert not damage.is_torn
    assert is_noticed_without == bool(damages_of(path, None)[1])
    with pytest.raises(DamagedLogError, match=reason):
        contents(path, keys)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param([0, 2, 1, 3, 4, 5], id="swapped"),
        pytest.param([0, 1, 2, 3, 3, 4, 5], id="doubled"),
        pytest.param([0, 1, 3, 4, 5], id="removed"),
        pytest.param([0, 2, 3, 4, 5], id="the first removed"),
        pytest.param([1, 2, 3, 4, 5], id="the header removed"),
        pytest.param([0, 1, 2, 3, 4, 5, 5], id="doubled at the end"),
        pytest.param([0, 0, 1, 2, 3, 4, 5], id="the header doubled"),
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_frames_that_were_moved(
    tmp_path: Path, keys: Path, order: list[int], with_key: bool
) -> None:
    """It is noticed even without the key, and no record is read from where it does not belong."""
    path = tmp_path / NAME
    data = records(5)
    write(path, data, keys=keys)
    parts = split(path)
    path.write_bytes(b"".join(parts[number] for number in order))
    found, damages = damages_of(path, keys if with_key else None)
    # Moving a frame by whole frames of its own size may put it where it was.
    assert len(found) == len(set(found))
    assert [item for item in data if item in found] == found
    if order[:2] != [0, 0]:  # another header begins another part, as in `cat a b`
        assert damages
    if with_key and order[:2] == [0, 0]:
        assert not damages
        assert data == found


def plain_header(path: Path, noise: bytes) -> bytes:
    """A header that says nothing of encryption."""
    plain = header(path)
    plain.ClearField("encryption")
    plain.schema_sha256 = noise
    return CompletionRecord(log_header=plain).SerializeToString()


@pytest.mark.parametrize("is_header", [True, False])
def test_a_gap_that_is_filled(tmp_path: Path, keys: Path, is_header: bool) -> None:
    """Neither a header nor a record of the same length hides that a frame was removed."""
    path = tmp_path / NAME
    write(path, records(4, 400), keys=keys)
    parts = split(path)
    fill, size = b"", 0
    while len(fill) != len(parts[2]):
        noise = random.Random(1).randbytes(size := size + 1)
        unknown = b"\xa2\x06" + varint_bytes(size) + noise  # field 100
        fill = PLAIN.encode([plain_header(path, noise) if is_header else unknown])
    path.write_bytes(b"".join([*parts[:2], fill, *parts[3:]]))
    for found in (keys, None):
        assert damages_of(path, found)[1]


def test_a_frame_of_another_file(tmp_path: Path, keys: Path) -> None:
    path, other = tmp_path / NAME, tmp_path / f"other{SUFFIX}"
    write(path, records(3), keys=keys)
    write(other, records(3), keys=keys)
    parts, others = split(path), split(other)
    assert [len(part) for part in parts] == [len(part) for part in others]
    path.write_bytes(b"".join([*parts[:2], others[2], *parts[3:]]))
    for found in (keys, None):
        (damage,) = damages_of(path, found)[1]
        assert "belongs to another header" in damage.reason


def set_header(**fields: object) -> Callable[[CompletionRecord], None]:
    """Sets fields of a header or its encryption."""

    def change(message: CompletionRecord) -> None:
        for name, value in fields.items():
            target = message.log_header
            setattr(
                target if name in target.DESCRIPTOR.fields_by_name else target.encryption,
                name,
                value,
            )

    return change


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (set_header(writer="chatpb 9.9.9"), DamagedLogError, "belongs to another header"),
        (set_header(file_id="0" * 32), DamagedLogError, "not where it was written"),  # shorter
        (set_header(salt=b"0123456789abcdef"), DamagedLogError, "belongs to another header"),
        (set_header(cipher="ROT13-256-X"), LogError, "encrypted with 'ROT13-256-X'; this version"),
        (lambda m: m.log_header.ClearField("encryption"), DamagedLogError, "not where it was"),
    ],
    ids=["writer", "file_id", "salt", "cipher", "not encrypted"],
)
def test_a_header_that_was_changed(
    path: Path,
    keys: Path,
    change: Callable[[CompletionRecord], None],
    error: type[Exception],
    reason: str,
) -> None:
    parts = split(path)
    changed(parts, 0, change)
    path.write_bytes(b"".join(parts))
    with pytest.raises(error, match=reason):
        contents(path, keys)


def test_records_in_the_clear_are_not_smuggled_in(path: Path, keys: Path) -> None:
    with path.open("ab") as file:
        file.write(framed(CompletionRecord(call_id="forged")))
    for found in (keys, None):
        (damage,) = damages_of(path, found)[1]
        assert "records that are not encrypted, after a header that requires it" == damage.reason


def test_encryption_begins_later(tmp_path: Path, keys: Path) -> None:
    path, other = tmp_path / NAME, tmp_path / f"other{SUFFIX}"
    write(path, records(2))
    write(path, [record(2)], keys=keys)
    assert records(3) == contents(path, keys)
    assert records(2) == [e.data for e in itertools.islice(read(path), 2)]
    write(other, [record(7)])
    path.write_bytes(path.read_bytes() + other.read_bytes() + path.read_bytes())
    assert [*records(3), record(7), *records(3)] == contents(path, keys)


def test_a_record_that_looks_like_an_encrypted_frame(tmp_path: Path) -> None:
    found = CompletionRecord()
    found.sealed_frame.key_id = "k"
    with LogWriter(tmp_path / NAME) as writer:
        with pytest.raises(ValueError, match="is not a record"):
            writer.append(found)
        found.call_id = "a"
        writer.append(found)
    assert [found.SerializeToString()] == contents(tmp_path / NAME)
    data = (tmp_path / NAME).read_bytes()
    found.ClearField("call_id")
    two = [record(0), found.SerializeToString()]
    (tmp_path / NAME).write_bytes(data + PLAIN.encode(two))
    with pytest.raises(DamagedLogError, match="with other messages next to it"):
        contents(tmp_path / NAME)


def test_two_writers(tmp_path: Path, keys: Path) -> None:
    with (
        LogWriter(tmp_path, sync=Sync.NEVER, frame_bytes=1, keys=keys) as one,
        LogWriter(tmp_path, sync=Sync.NEVER, frame_bytes=1, keys=keys) as other,
    ):
        for number in range(20):
            (one, other)[number % 2].append(record(number))
    assert set(records(20)) == set(contents(tmp_path, keys))
    assert _headers.CIPHER == header(one.path).encryption.cipher


DOCS = Path(__file__).parents[2] / "docs" / "log.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "log"


def test_the_golden_file() -> None:
    """It never changes: users have such files. The reader of the docs reads it, too."""
    path, keys = GOLDEN / "encrypted.chatpb.zst", GOLDEN / "keys.txt"
    expected = [str(number) for number in range(10)]
    assert expected == [entry.record.call_id for entry in read(path, keys=keys)]
    parts = [(frame.record_count, frame.key_id) for frame in frames(path) if frame.record_count]
    assert [(2, None), (3, "2026-01"), (2, "2026-01"), (3, "2026-02")] == parts
    (block,) = re.findall(r"```python\n(import io.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(block.partition("\ndirectory = ")[0], space)
    lines = [line.split() for line in keys.read_text().splitlines() if line[0] != "#"]
    by_id = {key_id: bytes.fromhex(key.removeprefix("aes256:")) for key_id, key in lines}
    assert expected == [record.call_id for record in space["decrypted"](path, by_id)]
