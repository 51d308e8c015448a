"""Which headers go on to the upstream, and which come back. docs/headers.md has the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from chatpb_server.access.secret import OWN_HEADERS, HeaderError, check_header, is_metadata_key

#: Of a caller's headers, those that every upstream gets, each with its meaning.
PASSED_ON: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai-organization": "The organization that the call is counted for.",
        "openai-project": "The project that the call is counted for.",
        "openai-beta": "Which features that are not released the caller uses.",
        "idempotency-key": "Names a request, so that one that is sent twice is answered once.",
        "x-client-request-id": "The caller's name for the request. Without it, the relay's own.",
        "traceparent": "The caller's span. If the relay makes traces, the relay's own.",
        "tracestate": "What tracing systems add to it.",
        "baggage": "What the caller tells everybody who takes part in its trace.",
        "x-title": "The name of the caller's program, for OpenRouter.",
        "http-referer": "The address of the caller's program, for OpenRouter.",
    }
)
#: Those that upstreams with `auth = "caller"` bring about in addition.
ACCOUNT: Final = ("authorization", "openai-*")
#: Of the headers of an upstream's answer, those that callers get, each with its meaning.
PASSED_BACK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "x-request-id": "The upstream's name for the request. Without it, the relay's own.",
        "request-id": "The same from Anthropic.",
        "apim-request-id": "The same from Azure.",
        "openai-*": "The organization, the version, the model and the time that it took.",
        "x-ratelimit-*": "How much the caller may still ask for, and until when.",
        "x-litellm-*": "What LiteLLM adds, such as the cost of the call.",
        "x-ms-region": "The region of Azure that has answered.",
        "retry-after*": "When to call again: `retry-after` and `retry-after-ms`.",
        "x-should-retry": "Whether to call again at all.",
        "cf-ray": "Cloudflare's name for the request.",
    }
)
#: Those whose values, if there are several, are one list. Of others the last value counts.
_LISTS: Final = frozenset(("baggage", "openai-beta", "tracestate"))
#: Those that belong to one call, whatever it asks for.
OF_ONE_CALL: Final = frozenset(
    ("baggage", "idempotency-key", "traceparent", "tracestate", "x-client-request-id")
)

#: This header, or metadata over gRPC, with this value says that a completion was not stored.
STORED_HEADER: Final = "chatpb-stored"
NOT_STORED: Final = "false"

#: Those that are for one connection, or that the relay itself sets or reads.
_NEVER: Final = OWN_HEADERS | {
    "accept-encoding",
    "cookie",
    "date",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "server",
    "set-cookie",
    "trailer",
    "upgrade",
    "x-request-timeout-ms",
}
_NEVER_BEGIN: Final = ("access-control-", "chatpb-", "content-", "grpc-")
#: Those that no pattern means, since they can be the caller's token for the relay.
_SECRET: Final = frozenset(("authorization", "api-key", "x-api-key"))
#: The most bytes of headers that go on by default. Longer ones are left out: the next relay, or a
#: server, might refuse the call for their sake.
_MOST_BYTES: Final = 12 * 1024


def one_of_each(headers: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The headers of a request, or the metadata of a call, with one value for each name."""
    found: dict[str, Any] = {}
    for name, value in headers:
        name = name.lower()
        if name in _LISTS and name in found:
            value = f"{found[name]},{value}"
        found[name] = value
    return found


def is_never_passed(name: str) -> bool:
    """Whether a header, or any that a pattern with ``*`` can mean, never goes on or comes back."""
    return name in _NEVER or name.startswith(_NEVER_BEGIN)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name is one of those that some patterns mean.

    Args:
        patterns: Names in lower case, in which ``*`` stands for any text. After a ``-`` they are
            taken out again.
    """
    patterns = tuple(patterns)
    kept = [pattern for pattern in patterns if not pattern.startswith("-")]
    out = [pattern[1:] for pattern in patterns if pattern.startswith("-")]

    def means(name: str) -> bool:
        return (
            any(fnmatchcase(name, pattern) for pattern in kept)
            and not any(fnmatchcase(name, pattern) for pattern in out)
            and not is_never_passed(name)
            and is_metadata_key(name)
        )

    return lru_cache(1024)(means)


class PassedOn:
    """Chooses the headers of a caller that go on to the upstream.

    Args:
        more: The names of those that go on besides `PASSED_ON`, or, after a ``-``, do not.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._named = tuple(more)
        self._means = matcher((*PASSED_ON, *self._named))
        self._more = matcher(self._named)

    def of(self, metadata: Mapping[str, str | bytes]) -> dict[str, str]:
        """The headers to send.

        Args:
            metadata: Those that came, their names in lower case.

        Raises:
            HeaderError: One that is not in `PASSED_ON` cannot be sent.
        """
        headers: dict[str, str] = {}
        room = _MOST_BYTES
        for name, value in metadata.items():
            is_secret = name in _SECRET and name not in self._named
            if is_secret or not self._means(name) or isinstance(value, bytes):
                continue
            try:
                check_header(name, value)
            except HeaderError:
                if self._more(name):
                    raise
                continue
            if not self._more(name):
                room -= len(name) + len(value) + 32
                if room < 0:
                    continue
            headers[name] = value
        return headers
