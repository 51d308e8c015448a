"""A pytest plugin that sends the chat tests of OpenAI's Python SDK through relays.

`make test-sdk` runs the tests in the folder of the SDK's source package, unchanged, with this
plugin. What the tests mock is then the upstream: a server in this process answers what the mock
answers, and between it and the SDK are one or two relays. Recorded streams, which the source
package leaves out, are made anew (`openai_streams`).

CHATPB_SDK_THROUGH is the way: "edge" is HTTP to a relay, "edge and core" is HTTP to a relay before
another one, and "transport" is `chatpb.transport` to a relay. CHATPB_SERVER is the relay's
program. It stores completions in CHATPB_SDK_STORE, a URL, or in a file of SQLite. Before each test
about them, those that it asks for are stored, by calls with ``store``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2
import openai
import pytest
from openai_streams import stream_of  # type: ignore[import-not-found] # next to this file

from chatpb.transport import AsyncGrpcTransport, GrpcTransport

WAY: Final = os.environ["CHATPB_SDK_THROUGH"]
#: Nothing listens there: with the transport, no connection is made to the host of the base URL.
NOWHERE: Final = "http://127.0.0.1:9/v1"

#: What the names of tests about stored completions have.
STORED: Final = ("retrieve", "update", "list", "delete")
#: The identifiers that they ask for: of a completion, and of what their pages begin after.
COMPLETION_ID: Final = "completion_id"
AFTER: Final = "after"

#: What the SDK's mock server answers to requests that no test mocks: a value for each member.
COMPLETION: Final = {
    "id": "id",
    "object": "chat.completion",
    "created": 0,
    "model": "model",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": "content",
                "refusal": "refusal",
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": 0,
                            "title": "title",
                            "url": "https://example.com",
                        },
                    }
                ],
                "audio": {"id": "id", "data": "data", "expires_at": 0, "transcript": "transcript"},
                "function_call": {"name": "name", "arguments": "arguments"},
                "tool_calls": [
                    {
                        "id": "id",
                        "type": "function",
                        "function": {"name": "name", "arguments": "arguments"},
                    }
                ],
            },
            "logprobs": {
                name: [
                    {
                        "token": "token",
                        "logprob": 0,
                        "bytes": [0],
                        "top_logprobs": [{"token": "token", "logprob": 0, "bytes": [0]}],
                    }
                ]
                for name in ("content", "refusal")
            },
        }
    ],
    "service_tier": "auto",
    "system_fingerprint": "system_fingerprint",
    "usage": {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
    },
}
CHUNK: Final = {
    "id": "id",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "model",
    "choices": [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "content"},
            "finish_reason": "stop",
        }
    ],
}


class _Answers(BaseHTTPRequestHandler):
    """The upstream: answers as the mock of the running test does."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answers a request."""
        content = self.rfile.read(int(self.headers["content-length"]))
        url = os.environ["TEST_API_BASE_URL"] + self.path.removeprefix("/v1")
        headers = dict(self.headers.items())
        response = _answer(httpx2.Request("POST", url, headers=headers, content=content))
        body = response.read()
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            if name not in {"content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Writes nothing."""


def _answer(request: httpx2.Request) -> httpx2.Response:
    from tests.respx2.mocks import HTTPCoreMocker  # type: ignore[import-not-found] # the SDK's

    if HTTPCoreMocker.routers:
        try:
            response: httpx2.Response = HTTPCoreMocker.handler(request)
        except AssertionError as error:
            return httpx2.Response(418, json={"error": {"message": repr(error)}})
        return response
    asked = json.loads(request.content)
    if asked.get("user") in (COMPLETION_ID, AFTER):
        return httpx2.Response(200, json=COMPLETION | {"id": asked["user"]})
    if asked.get("stream"):
        events = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"
        return httpx2.Response(200, text=events, headers={"content-type": "text/event-stream"})
    return httpx2.Response(200, json=COMPLETION)


class _Relay:
    """A relay process in front of an upstream; it knows where it listens."""

    def __init__(self, upstream: str, *options: str) -> None:
        listen = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "error")
        command = [os.environ["CHATPB_SERVER"], *listen, "--upstream", upstream, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.grpc, self.http = (self.process.stdout.readline().split()[-1] for _ in range(2))

    def end(self) -> None:
        """Ends the process."""
        self.process.terminate()
        self.process.communicate(timeout=60)


class Through:
    """The relays of a test run, and where they are left."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        store = os.environ.get("CHATPB_SDK_STORE") or f"sqlite:///{self.folder.name}/completions.db"
        upstream = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.relays = [_Relay(upstream, "--store", store)]
        if WAY == "edge and core":
            self.relays.append(_Relay(f"grpc://{self.relays[0].grpc}"))
        os.environ["TEST_API_BASE_URL"] = NOWHERE if WAY == "transport" else self.relays[-1].http
        if WAY == "transport":
            self._give_the_transport(self.relays[0].grpc)

    def _give_the_transport(self, address: str) -> None:
        """Makes the SDK's fixtures use the transport."""

        def sync() -> httpx2.Client:
            return httpx2.Client(transport=GrpcTransport(address))

        def asynchronous() -> httpx2.AsyncClient:
            return httpx2.AsyncClient(transport=AsyncGrpcTransport(address))

        given: Any = openai
        given.DefaultHttpx2Client = sync
        given.DefaultAsyncHttpx2Client = given.DefaultAioHttpClient = asynchronous

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:  # noqa: ARG002
        """Lets mocks answer at the upstream only."""
        from tests.respx2.mocks import Mocker

        Mocker.start = staticmethod(lambda: None)

    def pytest_runtest_setup(self, item: pytest.Function) -> None:
        """Stores what a test asks for, and gives it the stream that the package leaves out."""
        if hasattr(item.module, "external"):
            item.module.external = lambda _: stream_of(item.function)
        if any(word in item.name for word in STORED):
            self._store(AFTER)
            self._store(COMPLETION_ID)

    def _store(self, completion_id: str) -> None:
        """Has a completion stored, and in it a message that pages can begin after.

        The SDK's types allow only messages of the assistant there.
        """
        body = {
            "model": "model",
            "messages": [{"role": "assistant", "content": "content", "id": AFTER}],
            "metadata": {"foo": "string"},
            "store": True,
            "user": completion_id,
        }
        answer = httpx2.post(f"{self.relays[0].http}/chat/completions", json=body, timeout=60)
        assert 200 == answer.status_code, answer.text
        assert "chatpb-stored" not in answer.headers

    def pytest_unconfigure(self) -> None:
        """Ends the relays."""
        for relay in reversed(self.relays):
            relay.end()
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Starts the relays, before the SDK's own fixtures ask for the base URL."""
    early_config.pluginmanager.register(Through())
