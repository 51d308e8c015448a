"""Whether the upstreams can be reached, found out once, while the relay serves already.

A connection is made and closed again: with TLS, so that its certificate is verified, and without a
request, so that it costs no tokens, sends no key, and counts against no limit of the upstream.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

from chatpb._errors import os_error_text
from chatpb_server.running.settings import Settings
from chatpb_server.running.threads import in_daemon_thread
from chatpb_server.upstreams.proxy import ProxyError, find_proxy
from chatpb_server.upstreams.remote import RemoteTable

_logger = logging.getLogger(__name__)
_PORTS: Final = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_TLS: Final = ("https", "grpcs")


async def check_upstreams(settings: Settings) -> None:
    """Logs which upstreams can be reached; a warning for each that cannot."""
    tables = {
        name: table for name, table in settings.upstreams.items() if isinstance(table, RemoteTable)
    }
    await asyncio.gather(*(_check(name, table) for name, table in tables.items()))


async def _check(name: str, table: RemoteTable) -> None:
    began = time.monotonic()
    try:
        await in_daemon_thread(_connect, table)
    except TimeoutError:
        reason = f"no connection within {table.connect_timeout:g} s"
    except ssl.SSLCertVerificationError as error:
        reason = f"its certificate is refused: {error.verify_message}"
    except (OSError, ProxyError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
    else:
        milliseconds = (time.monotonic() - began) * 1000
        _logger.info("upstream %s: reached in %.0f ms", name, milliseconds)
        return
    _logger.warning("upstream %s: cannot be reached now: %s", name, reason)


def _connect(table: RemoteTable) -> None:
    """Connects to an upstream, or to its proxy.

    Raises:
        OSError: There is no connection.
        ProxyError: The proxy cannot be used.
    """
    proxy = find_proxy(table.url, table.proxy, os.environ)
    url = urlsplit(proxy or table.url)
    address = url.hostname or "", url.port or _PORTS[url.scheme]
    with socket.create_connection(address, table.connect_timeout) as connection:
        if url.scheme not in _TLS:
            return
        context = ssl.create_default_context(cafile=None if proxy else table.ca_file)
        if url.scheme == "grpcs":
            context.set_alpn_protocols(["h2"])
        with context.wrap_socket(connection, server_hostname=url.hostname):
            pass
