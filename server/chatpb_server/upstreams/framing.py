"""Answers that mark their end twice: a length next to chunks, or the same length twice.

Other HTTP clients read them: chunks count more than a length (RFC 9112, section 6.3), and lengths
that are equal are one. aiohttp's fast parser refuses both, without a setting. Its slow parser then
reads the head again, without the lines that say nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import HttpResponseParserPy

from chatpb_server.core.waits import Waits

#: What both parsers are given.
_PARAMS: Final = (
    "timer",
    "read_until_eof",
    "auto_decompress",
    "max_line_size",
    "max_field_size",
    "max_headers",
)
_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"


class Protocol(ResponseHandler):
    """A connection whose answers are read by either parser.

    Args:
        loop: The event loop.
        silent: The connections whose answers may not be silent for too long. Each piece of a stream
            would otherwise take a new timer.

    Attributes:
        is_used: Whether a request was sent on it.
        has_answered: Whether a byte of an answer has come since it was last set to False.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, silent: Waits[ResponseHandler]) -> None:
        self._silent = silent
        super().__init__(loop)
        self.is_used = False
        self.has_answered = False

    def set_response_params(self, **params: Any) -> None:
        """Makes the parsers of an answer."""
        super().set_response_params(**params)
        self._parser = _Parsers(self, self._parser, params)  # type: ignore[assignment]

    def _reschedule_timeout(self) -> None:
        if self.read_timeout is not None:
            self._silent.add(self)

    def _drop_timeout(self) -> None:
        self._silent.discard(self)


class _Parsers:
    """The fast parser, and the slow one if that refuses the head of an answer.

    Args:
        protocol: The connection. It gets the parser that has read the head.
        parser: The fast parser.
        params: What both are made with.
    """

    __slots__ = ("_head", "_params", "_parser", "_protocol")

    def __init__(self, protocol: Protocol, parser: Any, params: dict[str, Any]) -> None:
        self._protocol = protocol
        self._parser = parser
        self._params = params
        self._head = bytearray()

    def feed_data(self, data: bytes) -> Any:
        """Takes the next bytes of the head, and what follows it."""
        self._head += data
        self._protocol.has_answered = True
        try:
            found = self._parser.feed_data(data)
        except LineTooLong:
            raise
        except BadHttpMessage:
            self._parser = self._slow()
            found = self._parser.feed_data(bytes(self._head))
        if found[0]:
            self._protocol._parser = self._parser
        return found

    def feed_eof(self) -> Any:
        """Takes the end of the connection."""
        return self._parser.feed_eof()

    def pause_reading(self) -> None:
        """Pauses."""
        self._parser.pause_reading()

    def _slow(self) -> Any:
        params = self._params
        return _SlowParser(
            self._protocol,
            self._protocol._loop,
            params.get("read_bufsize", 2**16),
            payload_exception=aiohttp.ClientPayloadError,
            response_with_body=not params.get("skip_payload", False),
            **{name: params[name] for name in _PARAMS if name in params},
        )


class _SlowParser(HttpResponseParserPy):
    """aiohttp's parser in Python, for heads with one frame too many."""

    def parse_message(self, lines: list[bytes]) -> Any:
        """Reads the head."""
        return super().parse_message(_with_one_frame(lines))


def _with_one_frame(lines: Sequence[bytes]) -> list[bytes]:
    """The lines of a head without the lengths that say nothing new.

    The connection is not used again, since its peer may mean another end.

    Raises:
        BadHttpMessage: Lengths differ.
    """
    lengths = {_value(line) for line in lines if _name(line) == _LENGTH}
    if len(lengths) > 1:
        raise BadHttpMessage("two lengths")
    is_chunked = any(_name(line) == _CODING for line in lines)
    status, *rest = lines
    kept = [status, b"connection: close"]
    has_length = is_chunked
    for line in rest:
        if _name(line) == _LENGTH:
            if has_length:
                continue
            has_length = True
        kept.append(line)
    return kept


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].strip()
