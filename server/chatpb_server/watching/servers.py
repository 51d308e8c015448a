"""Who upstreams are, for traces and metrics: addresses, and the conventions' names."""

from __future__ import annotations

from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443, "grpc": 50051, "grpcs": 50051}
#: The hosts of providers that the conventions name. A name with a dot in front is an ending.
_PROVIDERS: Final = {
    ".openai.azure.com": "azure.ai.openai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
#: What all others are: servers that speak OpenAI's API.
DEFAULT_PROVIDER: Final = "openai"


class Server(NamedTuple):
    """An upstream.

    Attributes:
        address: Its host.
        port: Its port.
        provider: What the conventions call the provider.
    """

    address: str
    port: int
    provider: str

    @classmethod
    def of(cls, url: str) -> Self | None:
        """The upstream at a URL; None if it is not a server, such as the builtin model."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            return None
        host = parts.hostname
        found = next((name for end, name in _PROVIDERS.items() if _is_at(host, end)), None)
        port = parts.port or _PORTS[parts.scheme]
        return cls(host, port, found or DEFAULT_PROVIDER)

    @property
    def attributes(self) -> dict[str, str | int]:
        """Its attributes."""
        return {
            "server.address": self.address,
            "server.port": self.port,
            "gen_ai.provider.name": self.provider,
        }


def _is_at(host: str, end: str) -> bool:
    return host.endswith(end) if end.startswith(".") else host == end
