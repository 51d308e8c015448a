"""Which headers go on and back with what is passed as it is: those that are meant for both ends.

For chat completions `core.headers` lists what passes. Here the API is not known, so the list is of
those that do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from chatpb_server.core.explain import RefusalError
from chatpb_server.core.passing import Headers

#: They are about one connection (RFC 9110, section 7.6.1), whatever `Connection` names in addition.
_HOP_BY_HOP: Final = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
#: Cookies are between the relay's address and a browser. What proxies in front of the relay note
#: about the way of a request is nobody else's business. The others the relay sets itself.
_NOT_ON: Final = re.compile(
    r"cookie2?|host|expect|http2-settings|x-request-timeout-ms|forwarded|via|x-forwarded-.*"
    r"|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|x-original-.*|x-envoy-.*|cf-.*"
    r"|x-amzn-trace-id|max-forwards|chatpb-.*"
    # Some servers take these for the host and the path.
    r"|x-host|x-http-host-override|x-rewrite-url"
    # Which pages may call is decided here: a server that refuses the page's origin means its own.
    r"|origin|sec-fetch-.*|access-control-.*"
)
#: What a server says to browsers about its own address is not true of the relay's, and some proxies
#: in front of the relay obey headers such as `X-Accel-Redirect`.
_NOT_BACK: Final = re.compile(
    r"set-cookie2?|server|alt-svc|strict-transport-security|public-key-pins.*|nel|report-to"
    r"|reporting-endpoints|clear-site-data|chatpb-.*|access-control-.*|x-accel-.*|x-sendfile.*|x-envoy-.*"
)
_CONTROL: Final = re.compile(r"[^\t -\x7e\x80-\U0010ffff]")


def passed_on(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a request that go on, their names in lower case.

    The caller's own authorization is among them: the fallback knows whether it gets it.

    Raises:
        RefusalError: One of them cannot be sent.
    """
    passed = _end_to_end(headers, _NOT_ON)
    if not all(_can_be_sent(value) for _, value in passed):
        raise RefusalError(400, "A header of the request cannot be passed on.")
    return passed


def passed_back(headers: Headers) -> Headers:
    """The headers of an answer that the caller gets, their names in lower case."""
    passed = _end_to_end(headers, _NOT_BACK)
    return [(name, value) for name, value in passed if _can_be_sent(value)]


def _end_to_end(headers: Iterable[tuple[str, str]], without: re.Pattern[str]) -> Headers:
    lines = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lines
        if name == "connection"
        for token in value.split(",")
    }
    # A length frames the body. Whoever calls it a matter of one connection means to hide it.
    hidden = (_HOP_BY_HOP | named | {"content_length"}) - {"content-length", "content-type"}

    def passes(name: str) -> bool:
        dashed = name.replace("_", "-")  # some servers read it like this
        return not (hidden & {name, dashed} or without.fullmatch(dashed))

    return [(name, value) for name, value in lines if passes(name)]


def _can_be_sent(value: str) -> bool:
    if _CONTROL.search(value):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # it was not UTF-8
        return False
    return True
