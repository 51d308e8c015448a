"""How errors of upstreams, of requests and of the relay itself reach gRPC callers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb._rpc.status import status_code
from chatpb_server.core.upstream import UpstreamError
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.build import chunk, create_request, stream_request
from support.scripted import Script, created, failed, read_error, streamed_into

REFUSED = {
    "error": {
        "message": "Rate limit reached, café",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
        "retry_hint": {"seconds": 1.5},
    }
}


async def test_an_error_carries_openais_object() -> None:
    error = UpstreamError(429, json.dumps(REFUSED).encode())
    failure = await failed(Script(error=error))
    assert StatusCode.RESOURCE_EXHAUSTED == failure.code()
    assert "Rate limit reached, café" == failure.details()
    assert REFUSED == read_error(failure)


async def test_an_error_on_the_way_follows_what_was_said() -> None:
    error = UpstreamError(503, json.dumps(REFUSED).encode())
    messages: list[Any] = []
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, Script([chunk("a")], error=error), stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.UNAVAILABLE == caught.value.code()
    assert REFUSED == read_error(caught.value)


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        (400, StatusCode.INVALID_ARGUMENT),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.NOT_FOUND),
        (408, StatusCode.DEADLINE_EXCEEDED),
        (409, StatusCode.ABORTED),
        (413, StatusCode.INVALID_ARGUMENT),
        (418, StatusCode.FAILED_PRECONDITION),
        (422, StatusCode.INVALID_ARGUMENT),
        (429, StatusCode.RESOURCE_EXHAUSTED),
        (499, StatusCode.CANCELLED),
        (500, StatusCode.INTERNAL),
        (501, StatusCode.UNIMPLEMENTED),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.DEADLINE_EXCEEDED),
        (599, StatusCode.INTERNAL),
        (302, StatusCode.UNKNOWN),
    ],
)
def test_status_codes(http_status: int, code: StatusCode) -> None:
    assert code == status_code(http_status)


@pytest.mark.parametrize(
    ("body", "details", "expected"),
    [
        pytest.param(
            b"<html>Bad gateway</html>",
            "the upstream answered with HTTP status 502: Bad gateway",
            {
                "error": {
                    "message": "the upstream answered with HTTP status 502: Bad gateway",
                    "type": "server_error",
                    "param": None,
                    "code": None,
                }
            },
            id="html",
        ),
        pytest.param(
            b'{"error": "model is loading"}',
            "model is loading",
            {"error": "model is loading"},
            id="string",
        ),
        pytest.param(
            b'{"object": "error", "message": "no", "code": 502}',
            "no",
            {"object": "error", "message": "no", "code": 502},
            id="flat",
        ),
        pytest.param(
            b'{"error": {"message": "a\\ud800", "type": "t", "param": null, "code": null}}',
            "a?",
            {"error": {"message": "a\ud800", "type": "t", "param": None, "code": None}},
            id="a lone surrogate",
        ),
    ],
)
async def test_errors_of_other_shapes(body: bytes, details: str, expected: Any) -> None:
    failure = await failed(Script(error=UpstreamError(502, body)))
    assert StatusCode.UNAVAILABLE == failure.code()
    assert details == failure.details()
    assert expected == read_error(failure)


async def test_a_long_error_is_cut_to_fit_the_trailers() -> None:
    """Beyond a few KiB of trailers, clients see nothing but that the trailers are too long."""
    error = {"message": "é" * 100_000, "type": "invalid_request_error", "param": "p" * 9000}
    body = json.dumps({"error": {**error, "code": "too_long"}}).encode()
    failure = await failed(Script(error=UpstreamError(400, body)))
    assert StatusCode.INVALID_ARGUMENT == failure.code()
    detail = read_error(failure)["error"]
    assert ("invalid_request_error", "too_long") == (detail["type"], detail["code"])
    assert detail["message"] == failure.details()
    assert detail["message"] == "é" * 498 + "…"
    assert detail["param"].startswith("ppp")


async def test_a_request_without_a_json_form_is_refused() -> None:
    request = create_request(temperature=float(1))
    request.request.temperature = float("nan")
    request.request.messages[0].residue.extra_json = "}"
    upstream = Script([{}])
    with pytest.raises(aio.AioRpcError) as caught:
        await created(upstream, request)
    assert StatusCode.INVALID_ARGUMENT == caught.value.code()
    error = read_error(caught.value)["error"]
    assert ("invalid_request_error", "messages[0]") == (error["type"], error["param"])
    assert "$.messages[0]: extra_json" in error["message"]
    assert [] == upstream.requests


async def test_a_field_of_a_newer_schema_is_refused_not_dropped() -> None:
    request = create_request()
    request.request.MergeFromString(b"\xfa\x3e\x01x")
    with pytest.raises(aio.AioRpcError) as caught:
        await created(Script([{}]), request)
    assert StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "field 1007" in (caught.value.details() or "")


def incident(failure: aio.AioRpcError, text: str, log: pytest.LogCaptureFixture) -> None:
    """Checks a fixed text, and that the log has the failure under the id that stands in it."""
    details = failure.details() or ""
    assert details.startswith(text)
    fields: Any = vars(log.records[-1])["fields"]
    assert details.rpartition(" ")[2] == fields["id"]
    assert log.records[-1].exc_info is not None
    expected = {"message": details, "type": "server_error", "param": None, "code": None}
    assert {"error": expected} == read_error(failure)


async def test_no_text_of_an_unknown_error_gets_out(caplog: pytest.LogCaptureFixture) -> None:
    failure = await failed(Script(error=KeyError("secret-path")))
    assert StatusCode.INTERNAL == failure.code()
    incident(failure, "The relay failed", caplog)
    assert "secret" not in str(failure)
    assert "secret-path" in caplog.text


async def test_nor_on_the_way(caplog: pytest.LogCaptureFixture) -> None:
    messages: list[Any] = []
    upstream = Script([chunk("a")], error=KeyError("secret-path"))
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, upstream, stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.INTERNAL == caught.value.code()
    incident(caught.value, "The relay failed", caplog)
    assert "secret" not in str(caught.value)


async def test_an_unreadable_completion_is_the_upstreams_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = await failed(Script([b'{"id": "secret']))
    assert StatusCode.DATA_LOSS == failure.code()
    incident(failure, "The upstream's answer could not be read", caplog)
    assert "secret" not in str(failure)


async def test_the_chunks_before_an_unreadable_one_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages: list[Any] = []
    upstream = Script([chunk("a"), b"[]", chunk("b")])
    with pytest.raises(aio.AioRpcError) as caught:
        await streamed_into(messages, upstream, stream_request())
    assert [[chunk("a")]] == messages
    assert StatusCode.DATA_LOSS == caught.value.code()
    incident(caught.value, "The upstream's answer could not be read", caplog)


async def test_openais_refusal_by_the_builtin_upstream() -> None:
    failure = await failed(BuiltinUpstream(), temperature=9)
    assert StatusCode.INVALID_ARGUMENT == failure.code()
    error = read_error(failure)["error"]
    assert ("temperature", "decimal_above_max_value") == (error["param"], error["code"])
    assert error["message"] == failure.details()
