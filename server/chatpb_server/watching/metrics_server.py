"""Metrics served to Prometheus, those of one process or the sums of several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from chatpb._errors import os_error_text
from chatpb_server.access.address import Address, AddressError
from chatpb_server.watching.metrics import DIRECTORY


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
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as error:
        reason = os_error_text(error)
        raise AddressError(f"cannot serve metrics on {address}: {reason}") from None
    return MetricsServer(address._replace(port=server.server_port), server, thread)
