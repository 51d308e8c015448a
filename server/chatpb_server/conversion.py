"""The messages of the rpcs, to and from the JSON that an upstream speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chatpb import ConversionError, from_json, to_json
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import StreamChatCompletionResponse


class UpstreamDataError(Exception):
    """An upstream's answer that cannot be read."""


def request_json(request: ChatCompletionRequest, *, stream: bool) -> bytes:
    """Writes a request as the JSON text for an upstream, and says there whether to stream.

    Args:
        request: The request. Its field ``stream`` changes to what the rpc is.
        stream: Whether the rpc is a stream.

    Raises:
        ConversionError: The request has no JSON form.
    """
    if stream:
        request.stream = True
    elif request.stream:
        request.ClearField("stream")
    return to_json(request)


def read_completion(answer: bytes) -> ChatCompletion:
    """Reads an upstream's completion.

    Raises:
        UpstreamDataError: It is no JSON object.
    """
    try:
        return from_json(answer)
    except ConversionError as error:
        raise UpstreamDataError("unreadable completion") from error


def read_chunks(batch: Sequence[bytes]) -> Iterator[StreamChatCompletionResponse]:
    """Reads an upstream's chunks into one response, or none if there are no chunks.

    Raises:
        UpstreamDataError: A chunk is no JSON object. The response with those before it comes
            first: they are good.
    """
    response = StreamChatCompletionResponse()
    for chunk in batch:
        try:
            response.chunks.append(from_json(chunk, ChatCompletionChunk))
        except ConversionError as error:
            if response.chunks:
                yield response
            raise UpstreamDataError("unreadable chunk") from error
    if response.chunks:
        yield response
