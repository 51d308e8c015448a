"""What the HTTP port tells anyone, with or without a token: what it is, and whether it serves."""

from __future__ import annotations

from typing import Final

#: While the relay runs, it is alive (livez) and takes calls (readyz); from SIGTERM on it takes no
#: connections. What the upstreams do has no influence: all relays would leave the load balancer at
#: the same time, though neither another relay nor a restart would help.
_PROBES: Final = ("/livez", "/readyz", "/healthz")
_ABOUT: Final = b"""\
{"server": "chatpb", "about": "A relay of OpenAI's Chat Completions API, over HTTP and gRPC.",
 "base_url": "/v1", "paths": ["/v1/chat/completions", "/v1/models", "/livez", "/readyz"]}
"""


_OK: Final = b'{"status": "ok"}\n'


def probed(path: str) -> bytes | None:
    """The JSON text that a path has for anyone; None if it is another path.

    Args:
        path: The path, without ``/`` at its end; empty for the root.
    """
    return _ABOUT if not path else _OK if path in _PROBES else None
