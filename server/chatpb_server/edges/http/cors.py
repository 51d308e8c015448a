"""Which web pages may call the HTTP API: CORS, as the Fetch standard defines it.

A browser lets a page of another origin read an answer only if its headers allow that, and asks
first (a preflight) before it sends a token or JSON. Tokens are headers here, never cookies, so that
credentials in the sense of the standard are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

#: How many seconds a browser can remember the answer to a preflight; Chromium's limit.
_REMEMBERED: Final = "7200"
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@?#,]+", re.ASCII)
#: The names of headers, and the commas between them.
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]+", re.ASCII)
#: Why a request is refused.
FOREIGN: Final = (
    "Web pages of this origin cannot call this relay; whoever runs it can allow them with"
    " --cors-origin."
)
_FROM_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})


def checked_origin(text: str) -> str:
    """An origin of a setting, or a pattern for some.

    Raises:
        ValueError: It is neither.
    """
    text = text.lower()
    if text not in ("*", "null") and not _ORIGIN.fullmatch(text):
        raise ValueError(
            "expected an origin as browsers send it, such as https://app.example.com or"
            " http://localhost:3000, with * for a part of it, or * for all; without a path"
        )
    return text


class CorsRequest(web.BaseRequest):
    """A request, to whose answers the headers of CORS are added, whoever makes them.

    Args:
        *parts: For aiohttp.
        cors: Which pages may read the answers.
    """

    def __init__(self, *parts: Any, cors: Cors) -> None:
        super().__init__(*parts)
        self._cors = cors

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # The answer may have headers of the same names from an upstream.
        for name, value in self._cors.headers(self).items():
            if name == "vary":
                response.headers.add(name, value)
            else:
                response.headers[name] = value


class Cors:
    """The origins whose pages may call.

    Args:
        origins: The origins. In one, ``*`` stands for any text but ``/``, ``:`` and ``@``; alone,
            for all origins.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_all = "*" in origins
        patterns = ("[^/:@]+".join(map(re.escape, origin.split("*"))) for origin in origins)
        self._allowed = re.compile("|".join(patterns) or "(?!)")
        self._is_on = bool(origins)

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """The headers of an answer that let the page of a request read it."""
        if not self._is_on:
            return {}
        if self._allows_all:
            allowed = "*"
        elif self._allows(request):
            allowed = request.headers["origin"]
        else:
            return {"vary": "origin"}
        headers = {"access-control-allow-origin": allowed, "access-control-expose-headers": "*"}
        return headers if self._allows_all else {**headers, "vary": "origin"}

    def preflight(self, request: web.BaseRequest) -> dict[str, str] | None:
        """What the answer to a preflight has next to `headers`; None for any other request."""
        if request.method != "OPTIONS" or not self._is_on:
            return None
        if not request.headers.keys() >= {"origin", "access-control-request-method"}:
            return None
        if not self._allows(request):
            return {}
        headers = {
            "access-control-allow-methods": _METHODS,
            "access-control-max-age": _REMEMBERED,
        }
        # Those that are asked for: `*` would not stand for `authorization`.
        names = request.headers.get("access-control-request-headers", "")
        if _NAMES.fullmatch(names):
            headers["access-control-allow-headers"] = names
        return headers

    def is_foreign(self, request: web.BaseRequest) -> bool:
        """Whether a page sends a request that may not, and would not be shown the answer.

        It would be answered nonetheless, at the expense of whoever runs the relay: a page can send
        a form or plain text to any address without a preflight. Following a link is allowed.
        """
        if request.headers.get("sec-fetch-site") not in _FROM_ELSEWHERE or self._allows(request):
            return False
        return not (
            request.method in ("GET", "HEAD")
            and request.headers.get("sec-fetch-mode") == "navigate"
        )

    def _allows(self, request: web.BaseRequest) -> bool:
        origin = request.headers.get("origin", "")
        return self._allows_all or self._allowed.fullmatch(origin.lower()) is not None
