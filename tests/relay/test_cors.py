"""Which web pages may call the HTTP API, and what it tells anyone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from chatpb_server.core.explain import AuthenticationError
from chatpb_server.edges.http.cors import checked_origin
from chatpb_server.running.serving import Options
from relay.test_http_edge_sdk import UNARY
from support.build import PING
from support.http_edge import serve
from support.http_upstream import HttpUpstream

PAGE = "https://app.example.com"
ASK = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
#: What a browser adds to a request of a page of another site, beside its origin.
FROM_A_PAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
CHAT = "/v1/chat/completions"


class Answer:
    """The answer to one request."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def cors(self) -> dict[str, str]:
        """The headers of CORS, without their common beginning."""
        start = "access-control-"
        return {
            name.lower().removeprefix(start): value
            for name, value in self.headers.items()
            if name.lower().startswith(start)
        }


async def ask(
    method: str,
    path: str,
    headers: Mapping[str, str],
    *origins: str,
    body: Any = None,
    **options: Any,
) -> Answer:
    """What a relay answers whose pages of some origins may call."""
    how = Options(http="127.0.0.1:0", cors_origins=origins, **options)
    async with (
        HttpUpstream() as upstream,
        serve(upstream.url, 1, options=how) as ports,
        aiohttp.ClientSession(f"http://127.0.0.1:{ports.http}") as session,
    ):
        await upstream.answer(UNARY["plain"])
        async with session.request(method, path, headers=headers, json=body) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


async def test_nothing_is_allowed_by_default() -> None:
    answer = await ask("OPTIONS", CHAT, ASK)
    assert (405, {}) == (answer.status, answer.cors())
    answer = await ask("POST", CHAT, {"origin": PAGE}, body=PING)
    assert (200, {}) == (answer.status, answer.cors())


async def test_a_preflight_needs_no_token() -> None:
    def nobody(_call: Any, _peer: Any) -> str:
        raise AuthenticationError("who?")

    answer = await ask("OPTIONS", CHAT, ASK, PAGE, authenticate=nobody)
    assert (204, b"") == (answer.status, answer.body)
    assert {
        "allow-origin": PAGE,
        "allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "allow-headers": "authorization,content-type,x-stainless-lang",
        "expose-headers": "*",
        "max-age": "7200",
    } == answer.cors()
    assert "origin" == answer.headers["vary"]
    answer = await ask("POST", CHAT, {"origin": PAGE}, PAGE, body=PING, authenticate=nobody)
    assert (401, PAGE) == (answer.status, answer.cors()["allow-origin"])


async def test_a_preflight_of_another_origin_allows_nothing() -> None:
    answer = await ask("OPTIONS", CHAT, {**ASK, "origin": "https://evil.example.com"}, PAGE)
    assert (204, {}, "origin") == (answer.status, answer.cors(), answer.headers["vary"])


async def test_answers_and_errors_can_be_read() -> None:
    for path, status in ((CHAT, 200), ("/v1/nothing", 404), ("/livez", 200)):
        method, body = ("POST", PING) if path == CHAT else ("GET", None)
        headers = {"origin": PAGE, **FROM_A_PAGE}
        answer = await ask(method, path, headers, "https://else.example.com", PAGE, body=body)
        assert status == answer.status
        assert {"allow-origin": PAGE, "expose-headers": "*"} == answer.cors()


async def test_all_origins() -> None:
    answer = await ask("POST", CHAT, {"origin": PAGE, **FROM_A_PAGE}, "*", body=PING)
    assert 200 == answer.status
    assert {"allow-origin": "*", "expose-headers": "*"} == answer.cors()
    assert "vary" not in answer.headers
    assert "*" == (await ask("OPTIONS", CHAT, ASK, "*")).cors()["allow-origin"]


@pytest.mark.parametrize(
    ("pattern", "origin", "is_allowed"),
    [
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", False),
        ("http://localhost:*", "http://localhost:3000.evil.com:1", False),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://x@a.example.com", False),
        ("https://*.example.com", "https://a.example.com.evil.com", False),
        ("https://*.example.com", "https://aXexample.com", False),
        ("HTTPS://App.Example.com", PAGE, True),
        ("app://obsidian.md", "app://obsidian.md", True),
        ("null", "null", True),
        (PAGE, "null", False),
    ],
)
async def test_patterns(pattern: str, origin: str, is_allowed: bool) -> None:
    answer = await ask("OPTIONS", CHAT, {**ASK, "origin": origin}, checked_origin(pattern))
    assert is_allowed == (origin == answer.cors().get("allow-origin"))


@pytest.mark.parametrize(
    "text", ["", "app.example.com", PAGE + "/", PAGE + "/x", "https://a b", "**"]
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="expected an origin"):
        checked_origin(text)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate"])
async def test_a_page_that_may_not_call_costs_nothing(site: str, mode: str) -> None:
    """Without this, a page could send plain text that is JSON, without a preflight."""
    headers = {"origin": PAGE, "sec-fetch-site": site, "sec-fetch-mode": mode}
    for origins in ((), ("https://else.example.com",)):
        answer = await ask("POST", CHAT, headers, *origins, body=PING)
        assert 403 == answer.status
        assert "--cors-origin" in json.loads(answer.body)["error"]["message"]
    assert 200 == (await ask("POST", CHAT, headers, PAGE, body=PING)).status


async def test_a_link_from_elsewhere_can_be_followed() -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert 200 == (await ask("GET", "/livez", headers)).status


async def test_what_it_is_and_whether_it_serves() -> None:
    def nobody(_call: Any, _peer: Any) -> str:
        raise AuthenticationError("who?")

    for path in ("/livez", "/readyz", "/healthz"):
        answer = await ask("GET", path, {}, authenticate=nobody)
        assert (200, {"status": "ok"}) == (answer.status, json.loads(answer.body))
        assert 200 == (await ask("HEAD", path, {}, authenticate=nobody)).status
    for path in ("/", "/v1", "/v1/"):
        answer = await ask("GET", path, {}, authenticate=nobody)
        assert "application/json" == answer.headers["content-type"]
        assert 2 == answer.body.count(b"\n")
        assert "chatpb" == json.loads(answer.body)["server"]
