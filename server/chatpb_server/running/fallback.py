"""Where the HTTP API passes the requests of other paths: the upstream that `--fallback` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from chatpb_server.running.settings import Settings
from chatpb_server.upstreams.http import HttpTable
from chatpb_server.upstreams.passing import HttpFallback
from chatpb_server.upstreams.registry import UpstreamSettingsError

_PORTS = {"http": 80, "https": 443}


class FallbackTable(NamedTuple):
    """A fallback.

    Attributes:
        name: What metrics and logs call it.
        table: Its settings.
    """

    name: str
    table: HttpTable

    def build(self, max_bytes: int) -> HttpFallback:
        """Makes it, as `UpstreamTable.build` makes an upstream."""
        table = self.table
        settings = table.settings(max_bytes, table.query)
        with table.reading_ca_file():
            return HttpFallback(self.name, table.url, settings)


def find_fallback(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> FallbackTable | None:
    """The fallback of some settings; None if there is none.

    A URL on the server of an upstream is asked as that one is. So a key never goes to another
    server than the one that it was configured for.

    Raises:
        ValueError: It cannot be used, with a text for the user.
    """
    asked = settings.http.fallback
    if asked is None:
        return None
    if settings.http.listen is None:
        raise ValueError("belongs to the HTTP API: set http.listen (--http) too")
    if (named := settings.upstreams.get(asked)) is not None:
        if not isinstance(named, HttpTable):
            raise ValueError(f"the upstream {asked} is {named.kind}; expected one behind HTTP")
        return FallbackTable(asked, named)
    if not HttpTable.takes(asked):
        known = ", ".join(settings.upstreams)
        raise ValueError(f"expected a URL with http:// or https://, or an upstream: {known}")
    for name, table in settings.upstreams.items():
        if isinstance(table, HttpTable) and _server(table.url) == _server(asked):
            _made({"url": asked})
            return FallbackTable(name, table.model_copy(update={"url": asked}))
    return FallbackTable("fallback", _own(settings, asked, environ))


def _own(settings: Settings, url: str, environ: Mapping[str, str]) -> HttpTable:
    """The settings of a server that is not an upstream."""
    given: dict[str, Any] = {"url": url}
    tables = [*settings.upstreams.values()]
    if len(tables) == 1:
        [table] = tables
        if table.takes_authorization:
            given["auth"] = "caller"
        elif isinstance(table, HttpTable) and table.auth != "key":
            given["auth"] = table.auth
    try:
        HttpTable.complete(given, environ)
    except UpstreamSettingsError:
        raise ValueError(
            "needs a key: set OPENAI_API_KEY, or name an upstream of the configuration file that"
            " has one"
        ) from None
    return _made(given)


def _made(given: Mapping[str, Any]) -> HttpTable:
    try:
        return HttpTable.model_validate(given)
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_input=False)
        raise ValueError(str(first.get("ctx", {}).get("error", first["msg"]))) from None


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
