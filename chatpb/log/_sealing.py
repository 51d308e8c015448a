"""Encryption of frames: AES-256-GCM under keys that are derived for each header.

The form is in docs/log.md, with the reasons why no nonce repeats and what the tags prove.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chatpb._wire import varint_bytes
from chatpb.log._frames import BadFrameError, Encoder
from chatpb.log._headers import CIPHER, SALT_BYTES, SEALED_TAG, digest
from chatpb.log._keys import LogKey
from chatpb.v1.completion_record_pb2 import LogEncryption, SealedFrame

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PIECE: Final = 256 * 1024  # bytes that are encrypted while other threads wait
_CIPHERTEXT_TAG: Final = bytes([SealedFrame.CIPHERTEXT_FIELD_NUMBER << 3 | 2])
_FRAME_INFO: Final = SealedFrame.DESCRIPTOR.full_name.encode()
_CHECK_INFO: Final = LogEncryption.DESCRIPTOR.full_name.encode()


def encryption(key: LogKey) -> LogEncryption:
    """What the header of a log that a key encrypts contains about that."""
    salt = os.urandom(SALT_BYTES)
    check = key_check(key, salt)
    return LogEncryption(cipher=CIPHER, key_id=key.id, salt=salt, key_check=check)


def key_check(key: LogKey, salt: bytes) -> bytes:
    """The bytes that tell the key of a header from another one of that name."""
    return _derived(key, salt, _CHECK_INFO, 16)


class Sealer:
    """Encrypts the frames that follow a header.

    Args:
        key: The key.
        header: The message with the header.
    """

    def __init__(self, key: LogKey, header: bytes) -> None:
        self._key_id = key.id
        self._header_sha256 = digest(header)
        self._aes = AES(_derived(key, self._header_sha256, _FRAME_INFO, 32))
        self._encoder = Encoder(-1)  # what is encrypted does not shrink; zstd only adds checksums

    def seal(self, frame: bytes, offset: int, record_count: int) -> bytes:
        """Encrypts a frame; the result is a frame again.

        Args:
            frame: The frame.
            offset: How far from its header it will be.
            record_count: How many records it has.
        """
        nonce = os.urandom(_NONCE_BYTES)
        encryptor = Cipher(self._aes, GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(_bound(offset, record_count))
        view = memoryview(frame)
        pieces = [encryptor.update(view[at : at + _PIECE]) for at in range(0, len(frame), _PIECE)]
        encryptor.finalize()
        start = SealedFrame(
            key_id=self._key_id,
            header_sha256=self._header_sha256,
            offset=offset,
            record_count=record_count,
            nonce=nonce,
        ).SerializeToString()
        start += _CIPHERTEXT_TAG + varint_bytes(len(frame) + _TAG_BYTES)
        size = varint_bytes(len(start) + len(frame) + _TAG_BYTES)
        length = len(SEALED_TAG) + len(size) + len(start) + len(frame) + _TAG_BYTES
        content = (varint_bytes(length), SEALED_TAG, size, start, *pieces, encryptor.tag)
        return self._encoder.encode_content(content)  # one copy: they may be large


class Unsealer:
    """Decrypts the frames that belong to one header, with one key.

    Args:
        key: The key.
        header_sha256: The digest of the header.
    """

    def __init__(self, key: LogKey, header_sha256: bytes) -> None:
        self._key_id = key.id
        self._aes = AES(_derived(key, header_sha256, _FRAME_INFO, 32))

    def unseal(self, sealed: SealedFrame) -> bytes:
        """The frame that was encrypted.

        Raises:
            BadFrameError: It was changed, or the key is another one.
        """
        ciphertext = sealed.ciphertext
        end = len(ciphertext) - _TAG_BYTES
        if end < 0 or len(sealed.nonce) != _NONCE_BYTES:
            raise BadFrameError("a frame without the tag or the nonce of its encryption")
        decryptor = Cipher(self._aes, GCM(sealed.nonce, ciphertext[end:])).decryptor()
        decryptor.authenticate_additional_data(_bound(sealed.offset, sealed.record_count))
        view = memoryview(ciphertext)[:end]
        pieces = [decryptor.update(view[at : at + _PIECE]) for at in range(0, end, _PIECE)]
        try:
            decryptor.finalize()
        except InvalidTag:
            reason = "it was changed after it was written, or with another key"
            raise BadFrameError(f"the key {self._key_id!r} does not open it: {reason}") from None
        return b"".join(pieces)


def _bound(offset: int, record_count: int) -> bytes:
    """What a tag proves in addition to the frame itself."""
    return struct.pack("<QI", offset, record_count)


def _derived(key: LogKey, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key.secret)
