"""The mistakes that only several settings together make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from chatpb_server.access.address import Address, AddressError, check_exposure
from chatpb_server.running.fallback import find_fallback
from chatpb_server.running.places import Places
from chatpb_server.running.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ONE_AUTHORIZATION: Final = (
    "callers send one authorization: with tokens (--tokens) it is for the relay; give the upstream"
    " a key of its own, or authenticate the callers by tls.client_ca (--tls-client-ca)"
)


def conflicts(settings: Settings, places: Places | None = None) -> Iterator[str]:
    """The conflicts of some settings, each with its place.

    Args:
        settings: The settings.
        places: Where they come from. None: it is not known.
    """
    places = places or Places(None)
    for key, listen in ((("listen",), settings.listen), (("http", "listen"), settings.http.listen)):
        if listen is None:
            continue
        try:
            check_exposure(
                Address.parse(listen),
                tls=settings.tls.cert is not None,
                authentication=settings.tokens is not None or settings.tls.client_ca is not None,
                insecure=settings.insecure_listen,
            )
        except AddressError as error:
            yield f"{places.find(key)}: {error}"
    found = None
    try:
        found = find_fallback(settings)
    except ValueError as error:
        yield f"{places.find(('http', 'fallback'))}: {error}"
    if (
        found is not None
        and found.name not in settings.upstreams
        and found.table.takes_authorization
        and settings.tokens is not None
    ):
        yield f"{places.find(('http', 'fallback'))}: {_ONE_AUTHORIZATION}"
    for name, table in settings.upstreams.items():
        key = ("upstreams", name)
        if not _NAME.fullmatch(name):
            yield f"{places.find(key)}: expected a name of up to 64 letters, digits and . _ -"
        if not table.models and settings.http.fallback != name:
            yield f"{places.find((*key, 'models'))}: expected at least one model"
        if table.takes_authorization and settings.tokens is not None:
            yield f"{places.find((*key, 'auth'))}: {_ONE_AUTHORIZATION}"
