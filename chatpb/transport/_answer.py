"""From the responses, the metadata and the failure of a call to an HTTP answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import httpx2
from google.protobuf.message import Message
from grpc import StatusCode

from chatpb._errors import ConversionError, param_of
from chatpb._mapping.convert import binary_to_json, to_json
from chatpb._rpc.failure import FailedCall
from chatpb._rpc.status import HTTP_STATUS_KEY, HTTP_STATUSES
from chatpb._rpc.stored import NO_STORE, ParameterError, contents_of, path_of
from chatpb._rpc.stored import SERVICE as STORED_SERVICE
from chatpb._stream.errors import in_member
from chatpb._wire import WireError, joined, spans
from chatpb.sse import event
from chatpb.transport._request import CREATE, GET_MODEL, HTTPS_OWN, LIST_MODELS, PATH
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb.v1.model_service_pb2 import GetModelResponse, ListModelsResponse

#: What the responses of rpcs without a stream contain: the field, and the type of its message.
_CONTENTS: Final[Mapping[str, tuple[int, type[Message]]]] = {
    CREATE: (CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER, ChatCompletion),
    LIST_MODELS: (ListModelsResponse.MODELS_FIELD_NUMBER, ModelList),
    GET_MODEL: (GetModelResponse.MODEL_FIELD_NUMBER, Model),
    **{path_of(method): contents_of(method) for method in STORED_SERVICE.methods},
}


def answer_json(method: str, data: bytes) -> bytes:
    """The JSON of what the response of an rpc contains."""
    number, kind = _CONTENTS[method]
    try:
        return binary_to_json(joined(data, number), kind, allow_nan=True)
    except (WireError, ConversionError) as error:
        raise _undecodable(error) from error


def events_of(data: Any) -> bytes:
    """The events for the chunks in a response."""
    try:
        return b"".join(
            event(binary_to_json(data[span.value : span.end], ChatCompletionChunk, allow_nan=True))
            for span in spans(data)
            if span.number == StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
        )
    except (WireError, ConversionError) as error:
        raise _undecodable(error) from error


def completed(body: bytes, headers: list[tuple[str, str]]) -> httpx2.Response:
    """The answer with a completion, with models, or with what is stored."""
    return _whole(200, body, headers)


def streaming(
    stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, metadata: Any
) -> httpx2.Response:
    """The answer with an event stream."""
    kind = ("content-type", "text/event-stream; charset=utf-8")
    return _response(200, [*headers_of(metadata), kind], stream=stream)


def _whole(status: int, body: bytes, headers: list[tuple[str, str]]) -> httpx2.Response:
    """An answer in JSON. It is open until the client reads or closes it, as over HTTP."""
    about = [("content-type", "application/json"), ("content-length", str(len(body)))]
    return _response(status, [*headers, *about], stream=httpx2.ByteStream(body))


def _response(status: int, headers: list[tuple[str, str]], **body: Any) -> httpx2.Response:
    # With HTTP/1.1, the SDK would read past the last event to be able to reuse the connection.
    extensions = {"http_version": b"HTTP/2"}
    return httpx2.Response(status, headers=headers, extensions=extensions, **body)


def headers_of(*metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[str, str]]:
    """The headers of an answer, from its metadata. If a key is repeated, the first one wins."""
    headers: dict[str, str] = {}
    for pairs in metadata:
        for key, value in pairs or ():
            is_own = key.startswith(("grpc-", "content-")) or key.endswith("-bin")
            if isinstance(value, str) and not is_own and key not in (*HTTPS_OWN, HTTP_STATUS_KEY):
                headers.setdefault(key, value)
    return list(headers.items())


def _own_error(
    status: int,
    message: str,
    headers: list[tuple[str, str]],
    param: str | None = None,
    code: str | None = None,
) -> httpx2.Response:
    """An error that no server sent, as OpenAI's error object."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return _whole(status, json.dumps({"error": error}).encode(), headers)


def unknown_endpoint(request: httpx2.Request) -> httpx2.Response:
    """The answer to a request for another endpoint if there is no fallback."""
    text = (
        f"chatpb's transport carries {PATH} and GET /models only,"
        f" not {request.method} {request.url.path}: give it a fallback for the rest"
    )
    return _own_error(404, text, [])


def unreadable_request(error: ConversionError | ParameterError) -> httpx2.Response:
    """The answer to a request that is not JSON, or has a parameter that cannot be read."""
    if isinstance(error, ParameterError):
        return _own_error(400, error.message, [], error.param, error.code)
    param = param_of(error.path)
    return _own_error(400, f"The request cannot be read as JSON: {error}", [], param)


def is_unknown(error: Any, has_fallback: bool) -> bool:
    """Whether a request is for the fallback, because the server does not know the rpc.

    Args:
        error: The failure of the call.
        has_fallback: Whether there is one: if so, a server that stores nothing is not asked either.
    """
    failure = FailedCall.of(error)
    if failure.is_of_unknown_method:
        return True
    response = failure.response
    return has_fallback and response is not None and response.error.code == NO_STORE


def failed(error: Any, is_late: bool) -> httpx2.Response:
    """The answer to a call that failed before its first response.

    Args:
        error: The error.
        is_late: Whether the deadline of the call has passed.

    Raises:
        TransportError: There is no answer.
    """
    failure = FailedCall.of(error)
    status = failure.upstream_http_status
    if failure.code is StatusCode.DEADLINE_EXCEEDED and status is None:
        if is_late or failure.response is None:
            raise httpx2.ReadTimeout(failure.text)
    elif failure.response is None:
        if failure.code is StatusCode.UNAVAILABLE:
            raise httpx2.ConnectError(failure.text)
        if failure.code is StatusCode.CANCELLED:  # by a server that stops, or by `close`
            raise httpx2.RemoteProtocolError(failure.text)
    headers = headers_of(error.initial_metadata(), error.trailing_metadata())
    names = {key for key, _ in headers}
    if failure.request_id is not None and "x-request-id" not in names:
        headers.append(("x-request-id", failure.request_id))
    if failure.retry_after is not None and not names & {"retry-after", "retry-after-ms"}:
        headers.append(("retry-after", str(math.ceil(failure.retry_after))))
        if failure.retry_after % 1:
            headers.append(("retry-after-ms", str(round(failure.retry_after * 1000))))
    if failure.response is not None:
        return _whole(status or HTTP_STATUSES[failure.code], _error_json(failure), headers)
    # The message exceeds the limit of either side. 429 would make the SDK retry.
    is_too_large = "message larger than max" in failure.text
    status = 413 if is_too_large else HTTP_STATUSES[failure.code]
    return _own_error(status, failure.text or failure.code.name, headers)


def broken(failed: Any) -> bytes:
    """The event for a call that failed after its first response.

    Raises:
        TransportError: The stream breaks off.
    """
    failure = FailedCall.of(failed)
    if failure.response is None and failure.code is StatusCode.DEADLINE_EXCEEDED:
        raise httpx2.ReadTimeout(failure.text)
    # DATA_LOSS: the upstream's stream broke off, so this one breaks off too, as over HTTP.
    if failure.response is None or failure.code is StatusCode.DATA_LOSS:
        raise httpx2.RemoteProtocolError(failure.text or failure.code.name)
    return event(in_member(_error_json(failure)))


def _error_json(failure: FailedCall) -> bytes:
    """The JSON of OpenAI's error, with the object around it."""
    assert failure.response is not None
    return to_json(failure.response, allow_nan=True, ignore_unknown_fields=True)


def silence(seconds: float | None) -> httpx2.ReadTimeout:
    """The error of a server that has sent nothing for too long."""
    return httpx2.ReadTimeout(f"the server was silent for {seconds} seconds")


def _undecodable(error: Exception) -> httpx2.DecodingError:
    return httpx2.DecodingError(f"the answer cannot be read: {error}")
