"""A server of S3's interface on this machine, and a proxy before it that makes trouble."""

from __future__ import annotations

import http.client
import multiprocessing
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from support.limits import TIMEOUT

BUCKET: Final = "bucket"
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def options(url: str, **more: str) -> dict[str, str]:
    """The `storage_options` for a server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        **more,
    }


@contextmanager
def served() -> Iterator[str]:
    """Runs moto's server, with one bucket; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(process, port)
            request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
            _OPENER.open(request, timeout=TIMEOUT).close()
            yield url
        finally:
            process.kill()


@contextmanager
def with_keys_checked(url: str) -> Iterator[None]:
    """Lets moto's server check the keys of requests, of which it knows none."""

    def unchecked(count: int) -> None:
        address = f"{url}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}  # moto would take it for a form
        request = urllib.request.Request(address, str(count).encode(), headers)
        _OPENER.open(request, timeout=TIMEOUT).close()

    unchecked(0)
    try:
        yield
    finally:
        unchecked(1 << 40)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)


#: What a fault does with a request: `True` ends it there; it may call `forward` itself.
Fault = Callable[["Request"], bool]


class Request(BaseHTTPRequestHandler):
    """A request that is passed on to the server.

    Attributes:
        answer: The status, headers and body of the server's answer, once it was passed on.
    """

    protocol_version = "HTTP/1.1"
    server: _Proxy
    answer: tuple[int, list[tuple[str, str]], bytes]

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""

    def fail(self, status: int) -> bool:
        """Answers with an error of the server."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def lose(self) -> bool:
        """Ends the connection without an answer, after the server has done what was asked."""
        self.forward()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def forward(self) -> None:
        """Passes the request on."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=TIMEOUT)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        self.answer = answer.status, answer.getheaders(), answer.read()
        upstream.close()

    def _handle(self) -> None:
        if self.server.fault(self):
            return
        self.forward()
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: int, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.upstream = upstream
        self.fault = fault

    def handle_error(self, *_: Any) -> None:
        """Prints nothing: clients go away."""


class LoseFirst:
    """Loses the first answer to each request that writes something: it was written."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def __call__(self, request: Request) -> bool:
        """Makes trouble, or does not."""
        place = request.path.partition("?")[0]
        if request.command != "PUT" or place in self._lost:
            return False
        self._lost.add(place)
        return request.lose()


class FailOften:
    """Fails every third request, and is slow with every fourth."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, request: Request) -> bool:
        """Makes trouble, or does not."""
        self._count += 1
        if self._count % 4 == 0:
            time.sleep(0.05)
        return self._count % 3 == 0 and request.fail(503)


class FailWrites:
    """Fails whenever something is written whose path contains a text."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, request: Request) -> bool:
        """Makes trouble, or does not."""
        is_write = request.command in ("PUT", "POST")
        return is_write and self._what in request.path and request.fail(500)


class Overtake:
    """Lets others commit, and `vacuum` remove what they committed, before a commit is written.

    Args:
        what: A part of the path of the commit.
        meanwhile: What the others do. It can be pickled.
    """

    def __init__(self, what: str, meanwhile: Callable[[], object]) -> None:
        self._what = what
        self._meanwhile = meanwhile
        self._is_done = False

    def __call__(self, request: Request) -> bool:
        """Makes trouble, or does not."""
        if request.command == "PUT" and self._what in request.path and not self._is_done:
            self._is_done = True
            self._meanwhile()
        return False


@contextmanager
def troubled(url: str, fault: Fault) -> Iterator[str]:
    """Runs a proxy before a server; gives its URL.

    It is a process of its own: Delta's client holds the interpreter's lock while it writes.

    Args:
        url: The server.
        fault: Called with each request.
    """
    context = multiprocessing.get_context("spawn")
    reading, writing = context.Pipe(duplex=False)
    upstream = int(url.rpartition(":")[2])
    process = context.Process(target=_run, args=(upstream, fault, writing), daemon=True)
    process.start()
    try:
        assert reading.poll(TIMEOUT)
        yield f"http://127.0.0.1:{reading.recv()}"
    finally:
        process.kill()
        process.join()


def _run(upstream: int, fault: Fault, port: Any) -> None:
    proxy = _Proxy(upstream, fault)
    port.send(proxy.server_address[1])
    proxy.serve_forever()
