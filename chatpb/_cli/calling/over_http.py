"""Calls over OpenAI's HTTP API, of the relay or of any other server that has it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import click
import httpx2

import chatpb
from chatpb._cli.calling.report import Report
from chatpb._cli.calling.target import Target
from chatpb._cli.failure import one_line
from chatpb._errors import ConversionError, os_error_text
from chatpb._rpc.loopback import is_loopback
from chatpb._rpc.status import INCOMPLETE, is_error_status, status_code
from chatpb._stream.errors import find_error
from chatpb.client import ChatCompletionError
from chatpb.sse import ChunkDecoder
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChunkChoice,
    ErrorResponse,
    ModelList,
)

Emit = Callable[[ChatCompletion | ChatCompletionChunk], None]

_NO_ANSWER: Final = status_code(503)
_BROKEN_OFF: Final = status_code(502)
_LATE: Final = status_code(504)
#: For an error that came with the status 200, in a stream for instance.
_UNKNOWN: Final = status_code(300)
#: How the relay is told the time limit.
_TIMEOUT_HEADER: Final = "x-request-timeout-ms"
#: Paths that tell whether a server is ready; of those that it does not have, the next is asked.
_HEALTH: Final = ("/readyz", "/healthz")
_PAUSE: Final = 0.2
_MAX_ERROR_TEXT: Final = 500


def call(
    target: Target,
    request: ChatCompletionRequest,
    stream: bool,
    emit: Emit,
    report: Report,
    *,
    allow_nan: bool,
) -> None:
    """Sends a request, and gives each message of the answer to a function.

    Raises:
        ChatCompletionError: The call failed.
        ConversionError: The answer is not a completion, or the request has no JSON form.
        click.UsageError: The options cannot be used.
    """
    request.ClearField("stream")
    if stream:
        request.stream = True
    body = chatpb.to_json(request, allow_nan=allow_nan)

    async def ask(client: httpx2.AsyncClient) -> None:
        async with _asked(client, report, "POST", "/chat/completions", body) as response:
            if not stream:
                data = await response.aread()
                _check(data, response)
                completion = chatpb.from_json(data, ChatCompletion, allow_nan=True)
                report.arrived(completion)
                emit(completion)
                return
            decoder = ChunkDecoder(allow_nan=True)
            finished: dict[int, bool] = {}

            def take(chunks: list[bytes]) -> None:
                for data in chunks:
                    chunk = ChatCompletionChunk.FromString(data)
                    for choice in chunk.choices:
                        finished[choice.index] = finished.get(choice.index) or _is_finished(choice)
                    report.arrived(chunk)
                    emit(chunk)

            async for data in response.aiter_raw():
                take(decoder.feed(data))
            while chunks := decoder.close():
                take(chunks)
            if decoder.error is not None:
                raise _error(_UNKNOWN, ErrorResponse.FromString(decoder.error), response)
            if not (decoder.is_done or (finished and all(finished.values()))):
                text = "the answer is not a stream, or ended before the completion did"
                raise _failure(INCOMPLETE, text, None, response)

    _run(target, ask, report)


def models(target: Target, report: Report) -> ModelList:
    """The models that the server lists.

    Raises:
        ChatCompletionError: The call failed.
        ConversionError: The answer is not a list of models.
        click.UsageError: The options cannot be used.
    """
    found = ModelList()

    async def ask(client: httpx2.AsyncClient) -> None:
        async with _asked(client, report, "GET", "/models") as response:
            data = await response.aread()
            _check(data, response)
            found.CopyFrom(chatpb.from_json(data, ModelList, allow_nan=True))
            if not isinstance(chatpb.to_dict(found, allow_nan=True).get("data"), list):
                raise ConversionError("expected a list of models")

    _run(target, ask, report)
    return found


def _run(
    target: Target,
    ask: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, None]],
    report: Report,
) -> None:
    url = urlsplit(target.address)
    is_here = is_loopback(url.hostname or "")
    is_safe = target.tls or target.allow_insecure_token or is_here
    if target.token is not None and not is_safe:
        raise click.UsageError(
            f"will not send the token to {url.netloc} in the clear: pass https:// or --tls, or"
            " --allow-insecure-token"
        )
    headers = {"accept-encoding": "identity", "user-agent": "chatpb", **dict(target.headers)}
    if target.token is not None:
        headers["authorization"] = f"Bearer {target.token}"
    if target.timeout is not None:
        headers[_TIMEOUT_HEADER] = str(round(target.timeout * 1000))

    async def name_server(request: httpx2.Request) -> None:
        if target.server_name is not None:  # who is asked for, and whose certificate is expected
            request.extensions["sni_hostname"] = target.server_name

    async def run() -> None:
        client = httpx2.AsyncClient(
            base_url=url._replace(query="").geturl(),
            params=httpx2.QueryParams(url.query),
            headers=headers,
            verify=_verified(target) if target.tls else False,
            timeout=None,
            event_hooks={"request": [name_server]},
            # A proxy could read what is not encrypted, and does not reach this machine.
            trust_env=target.tls and not is_here,
        )
        async with client:
            if target.wait_ready is not None:
                await _wait(client, target.wait_ready)
            report.begin()
            async with asyncio.timeout(target.timeout):
                await ask(client)
            report.end()

    try:
        with _translated(target.address):
            asyncio.run(run())
    except ChatCompletionError as error:
        report.retry_after = error.retry_after
        raise


def _verified(target: Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.ca)
        if target.cert is not None:
            context.load_cert_chain(target.cert, target.key)
    except OSError as error:
        names = ", ".join(str(path) for path in (target.ca, target.cert, target.key) if path)
        raise click.UsageError(f"{names}: {os_error_text(error)}") from None
    return context


async def _wait(client: httpx2.AsyncClient, seconds: float) -> None:
    """Waits until the server is ready."""
    end = time.monotonic() + seconds
    found = "it cannot be reached"
    paths = list(_HEALTH)
    while paths:
        with suppress(httpx2.TransportError, TimeoutError):
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                response = await client.get(client.base_url.join(paths[0]))
                if response.status_code < 400:
                    return
                if response.status_code == 404:
                    del paths[0]
                    continue
                found = f"{paths[0]} answers {response.status_code}"
        if time.monotonic() + _PAUSE > end:
            raise ChatCompletionError(_NO_ANSWER, f"the server is not ready: {found}")
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _asked(
    client: httpx2.AsyncClient, report: Report, method: str, path: str, body: bytes | None = None
) -> AsyncIterator[httpx2.Response]:
    """The answer to a request, unless it is an error."""

    async def trace(event: str, _: object) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            report.connected()

    headers = {} if body is None else {"content-type": "application/json"}
    asked = client.stream(method, path, content=body, headers=headers, extensions={"trace": trace})
    async with asked as response:
        report.metadata = dict(response.headers)
        report.request_id = response.headers.get("x-request-id")
        if response.status_code >= 300:
            data = await response.aread()
            error = None
            with suppress(ConversionError):
                error = chatpb.from_json(data, ErrorResponse, allow_nan=True)
            code = status_code(response.status_code)
            if error is None or not error.HasField("error"):
                text = one_line(data.decode("utf-8", "replace"))[:_MAX_ERROR_TEXT]
                if not is_error_status(response.status_code):
                    text = "the server redirects, which is not followed"
                raise _failure(code, text or response.reason_phrase, None, response)
            raise _error(code, error, response)
        yield response


def _check(data: bytes, response: httpx2.Response) -> None:
    """Looks for an error in place of a completion."""
    found = find_error(data)
    if found is not None and not found.leaves_answer:
        raise _error(
            _UNKNOWN, chatpb.from_json(found.text, ErrorResponse, allow_nan=True), response
        )


def _is_finished(choice: ChunkChoice) -> bool:
    """Whether a choice has a finish reason; of unknown words the residue keeps the text."""
    if choice.finish_reason:
        return True
    return choice.HasField("residue") and bool(chatpb.to_dict(choice).get("finish_reason"))


def _error(code: Any, error: ErrorResponse, response: httpx2.Response) -> ChatCompletionError:
    return _failure(code, error.error.message or "no details", error, response)


def _failure(
    code: Any, text: str, error: ErrorResponse | None, response: httpx2.Response
) -> ChatCompletionError:
    if response.status_code != 200:
        text = f"{text} (HTTP {response.status_code})"
    headers = response.headers
    wait = None
    with suppress(ValueError, KeyError):
        wait = float(headers["retry-after"])
    with suppress(ValueError, KeyError):
        wait = float(headers["retry-after-ms"]) / 1000
    known = error.error if error is not None and error.HasField("error") else None
    return ChatCompletionError(code, text, known, wait, headers.get("x-request-id"), dict(headers))


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """Turns the errors of HTTP into `ChatCompletionError`."""
    try:
        yield
    except TimeoutError as error:
        raise ChatCompletionError(_LATE, "Deadline Exceeded") from error
    except httpx2.ConnectError as error:
        raise ChatCompletionError(_NO_ANSWER, f"{place} cannot be reached: {error}") from error
    except (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeEncodeError):
        raise click.UsageError("the address or a header cannot be sent") from None
    except httpx2.TransportError as error:
        raise ChatCompletionError(_BROKEN_OFF, f"the answer broke off: {error}") from error
