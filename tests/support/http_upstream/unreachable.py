"""URLs at which no upstream answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def never_accepting() -> Iterator[str]:
    """The URL of an upstream that neither accepts connections nor refuses them."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),  # fills the kernel's queue
    ):
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of an upstream that refuses connections: the port is taken, but nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
