"""How to try a relay that has just started: one command for each way in."""

from __future__ import annotations

import json
import shlex
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chatpb_server.access.address import Address
from chatpb_server.running.settings import Settings

_METHOD: Final = "chatpb.v1.ChatCompletionService/CreateChatCompletion"
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
#: Stands for a model, if the settings name none.
_MODEL: Final = "MODEL"


def commands(settings: Settings, grpc: Address, http: Address | None) -> Iterator[str]:
    """The commands, for a shell.

    Args:
        settings: The settings.
        grpc: The address of the service.
        http: That of the HTTP API. None: it is not served.
    """
    model = _model(settings)
    token = ['-H "authorization: Bearer $TOKEN"'] if settings.tokens is not None else []
    message = {"role": "ROLE_USER", "content": {"text": "Hi"}}
    place, name = _place(settings, grpc)
    yield " ".join(
        [
            *("grpcurl", *_flags(settings, "-", name)),
            *token,
            f"-d {shlex.quote(json.dumps({'request': {'model': model, 'messages': [message]}}))}",
            *(str(place), _METHOD),
        ]
    )
    if http is None:
        return
    place, name = _place(settings, http)
    scheme, host = "http", str(place)
    resolve = []
    if settings.tls.cert is not None:
        scheme = "https"
        if name is not None:
            host = f"{name}:{place.port}"
            resolve = [f"--resolve {host}:{f'[{place.host}]' if ':' in place.host else place.host}"]
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    yield " ".join(
        [
            *("curl", *_flags(settings, "--", None), *resolve),
            f"{scheme}://{host}/v1/chat/completions",
            *token,
            "-H 'content-type: application/json'",
            f"-d {shlex.quote(json.dumps(body))}",
        ]
    )


def needs(settings: Settings) -> Iterator[str]:
    """What the commands need that only the user has."""
    if settings.tokens is not None:
        yield "TOKEN is a token that `chatpb-server token NAME` made"
    if settings.tls.client_ca is not None:
        yield f"client.pem and client.key are a certificate that {settings.tls.client_ca} signs"
    if _model(settings) == _MODEL:
        yield f"{_MODEL} is a model of the upstream"


def _model(settings: Settings) -> str:
    """A model that is answered."""
    for table in settings.upstreams.values():
        for model in table.models:
            if not set(model) & set("*?["):
                return model
    kinds = [table.url for table in settings.upstreams.values() if "*" in table.models]
    return "demo" if "builtin" in kinds else _MODEL


def _flags(settings: Settings, dashes: str, name: str | None) -> Iterator[str]:
    """The flags of TLS."""
    if settings.tls.cert is None:
        if dashes == "-":
            yield "-plaintext"
        return
    # The relay's own certificate, taken as an authority, proves that it is this one.
    yield f"{dashes}cacert {shlex.quote(str(settings.tls.cert))}"
    if settings.tls.client_ca is not None:
        yield f"{dashes}cert client.pem {dashes}key client.key"
    if name is not None:
        yield f"-servername {shlex.quote(name)}"


def _place(settings: Settings, address: Address) -> tuple[Address, str | None]:
    """Where this machine reaches an address; and the certificate's name, if that is another one."""
    host = _ANYWHERE.get(address.host, address.host)
    place = address._replace(host=host)
    if settings.tls.cert is None or settings.tls.key is None:
        return place, None
    names = _names(settings.tls.cert, settings.tls.key)
    if not names or host in names:
        return place, None
    if "localhost" in names:
        return place, "localhost"
    return place, next((name for name in names if "*" not in name), None)


def _names(certificate: Path, key: Path) -> list[str]:
    """The names in a certificate, from a handshake with ourselves; empty if it cannot be made."""
    with suppress(OSError, ValueError):
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificate, key)
        asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        asking.check_hostname = False
        asking.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        asking.load_verify_locations(certificate)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = serving.wrap_bio(there, back, server_side=True)
        client = asking.wrap_bio(back, there)
        for _ in range(2):
            for end in (client, server):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        shown: Any = client.getpeercert() or {}
        return [name for _, name in shown.get("subjectAltName", ())]
    return []
