"""Calls for stored completions: what they ask, and the messages and the JSON of their answers."""

from __future__ import annotations

from typing import Any, Final

from chatpb import ConversionError
from chatpb._rpc.stored import ParameterError, StoredPlace, contents_of, request_of
from chatpb._wire import WireError, joined
from chatpb.v1.stored_chat_completion_pb2 import ChatCompletionUpdate
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.offload import json_text, json_to_binary, stepwise
from chatpb_server.core.service import Begin
from chatpb_server.core.stored import StoredChatCompletionService
from chatpb_server.core.upstream import RequestError, UpstreamDataError
from chatpb_server.edges.exchange import Write

#: The most bytes of a request. The longest metadata that may be stored has less, even if all of its
#: characters are written as escapes.
_MOST_BYTES: Final = 256 * 1024


class StoredExchange:
    """A call of the service of stored completions, as an `Exchange`.

    Args:
        service: What answers.
        call: The call.
        method: The descriptor of its rpc.
    """

    def __init__(self, service: StoredChatCompletionService, call: Call, method: Any) -> None:
        self._service = service
        self._call = call
        self._method = method
        self._data = b""

    async def asked(self, data: bytes) -> None:
        """See `Exchange`."""
        _check_size(data)
        self._data = data

    async def answer(self, begin: Begin, write: Write) -> None:  # noqa: ARG002 (not a stream)
        """See `Exchange`."""
        await write(await self._service.answer(self._call, self._method, self._data))


async def asked_for(method: Any, place: StoredPlace, query: str, body: bytes) -> bytes:
    """The message of an rpc, from a request of OpenAI's HTTP API.

    Args:
        method: The descriptor of the rpc.
        place: What the path names.
        query: The query of the URL.
        body: The body; only updates have one.

    Raises:
        RefusalError: A parameter cannot be read, or is missing.
        RequestError: The body cannot be read.
    """
    _check_size(body)
    update = b""
    try:
        if body:
            update = await json_to_binary(body, ChatCompletionUpdate)
        return request_of(method, place.completion_id, query, update)
    except ConversionError as error:
        raise RequestError(f"The request cannot be read: {error}") from error
    except ParameterError as error:
        raise RefusalError(400, error.message, error.code, error.param) from error


async def stored_json(
    service: StoredChatCompletionService, call: Call, method: Any, data: bytes
) -> bytes:
    """The JSON of what the response of an rpc contains.

    Args:
        service: What answers.
        call: The call.
        method: The descriptor of the rpc.
        data: Its message.
    """
    response = await service.answer(call, method, data)
    number, message_type = contents_of(method)
    try:
        contents = await stepwise(len(response), joined, response, number)
        return await json_text(contents, message_type)
    except (ConversionError, WireError) as error:
        raise UpstreamDataError("could not be read: not stored completions") from error


def _check_size(data: bytes) -> None:
    if len(data) > _MOST_BYTES:
        text = f"The request has {len(data)} bytes; expected at most {_MOST_BYTES}."
        raise RefusalError(413, text)
