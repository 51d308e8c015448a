"""Metrics served to Prometheus, those of one process or the sums of several."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from chatpb._errors import os_error_text
from chatpb_server.access.address import Address, AddressError
from chatpb_server.watching.descriptors import is_out_of_descriptors, log_out_of_descriptors
from chatpb_server.watching.metrics import DIRECTORY

#: How many connections are served at once, each by a thread. One more ends the oldest.
_MOST_CONNECTIONS: Final = 16
#: How many seconds a connection can be silent.
_SILENCE: Final = 10.0
#: How many seconds to wait for file descriptors.
_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class SharedMetrics:
    """The metrics of several processes, added up.

    Attributes:
        registry: The sums, for `serve_metrics`.
        directory: Where the processes keep them.
    """

    registry: CollectorRegistry
    directory: Path

    def forget(self, pid: int) -> None:
        """A process is dead: its calls are not in flight. What it has counted stays counted."""
        mark_process_dead(pid, str(self.directory))  # type: ignore[no-untyped-call]


@contextmanager
def shared_metrics() -> Iterator[SharedMetrics]:
    """Shares the metrics of the processes that are started while the context lasts.

    For a supervisor, which makes no `MetricsObserver` itself and starts the processes that do. They
    keep their metrics in the folder that the environment variable PROMETHEUS_MULTIPROC_DIR names,
    which is emptied first; without it, in a temporary one that is removed at the end.
    """
    named = os.environ.get(DIRECTORY)
    with TemporaryDirectory(prefix="chatpb-metrics-") as temporary:
        directory = Path(named or temporary)
        directory.mkdir(parents=True, exist_ok=True)
        for file in directory.glob("*.db"):
            file.unlink()
        kind = values.ValueClass
        os.environ[DIRECTORY] = str(directory)
        # The library chooses when it is imported, for this process and those that are forked.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
        try:
            yield SharedMetrics(registry, directory)
        finally:
            values.ValueClass = kind
            if named is None:
                del os.environ[DIRECTORY]


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base)
        """Requests are not logged."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._connections: dict[socket.socket, None] = {}
        self._lock = Lock()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection."""
        try:
            return super().get_request()
        except OSError as error:
            if is_out_of_descriptors(error):
                log_out_of_descriptors()
                time.sleep(_PAUSE)  # the connection is still there, and the caller tries at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begins to serve a connection."""
        with self._lock:
            if len(self._connections) >= _MOST_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other end is gone, or silent. The base class writes a traceback."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """Metrics that are served.

    Attributes:
        address: Where, with the true port.
    """

    address: Address
    _server: WSGIServer
    _thread: Thread

    def close(self) -> None:
        """Stops to serve, within a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(address: Address, registry: CollectorRegistry) -> MetricsServer:
    """Serves metrics over HTTP, in a thread of its own, on any path.

    Args:
        address: Where; port 0 asks for a free one.
        registry: What: that of a `MetricsObserver`, or of `shared_metrics`.

    Raises:
        AddressError: The address cannot be listened on.
    """
    try:
        server = make_server(
            address.host,
            address.port,
            make_wsgi_app(registry),
            _Server6 if ":" in address.host else _Server,
            _Handler,
        )
    except OSError as error:
        reason = os_error_text(error)
        raise AddressError(f"cannot serve metrics on {address}: {reason}") from None
    thread = Thread(target=server.serve_forever, name="chatpb.metrics", daemon=True)
    thread.start()
    return MetricsServer(address._replace(port=server.server_port), server, thread)
