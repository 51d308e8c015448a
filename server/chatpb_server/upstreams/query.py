"""The query of a caller's URL, which goes on to the upstream."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from yarl import URL

from chatpb_server.core.upstream import RequestError

#: What can be in a query as it is written. See https://www.rfc-editor.org/rfc/rfc3986#section-3.4
_QUERY: Final = re.compile(r"[!$-~]*")
_MOST_BYTES: Final = 8 * 1024


def with_query(url: URL, query: str) -> URL:
    """A URL with more query parameters, byte for byte.

    Args:
        url: The URL. Parameters that it has already are not replaced.
        query: The parameters, as they are written in a URL.

    Raises:
        RequestError: They cannot be a part of a URL.
    """
    if not query:
        return url
    if not _QUERY.fullmatch(query) or len(query) > _MOST_BYTES:
        raise RequestError("The query of the URL cannot be passed on.")
    own = url.query
    more = [each for each in query.split("&") if each and _name_of(each) not in own]
    if not more:
        return url
    own_query = [url.raw_query_string] if url.raw_query_string else []
    bare = str(url).partition("?")[0]
    return URL(f"{bare}?{'&'.join((*own_query, *more))}", encoded=True)


def _name_of(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0])
