"""The proxy through which an upstream is reached, by its settings and the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from chatpb._rpc.loopback import is_loopback

#: What the setting can be in place of a URL.
ENVIRONMENT: Final = "environment"
NONE: Final = "none"

_HTTP: Final = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_HTTPS: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
#: The environment variables for each scheme of an upstream; the first one that is set is used.
_VARIABLES: Final[Mapping[str, Sequence[str]]] = {
    "http": _HTTP,
    "https": _HTTPS,
    "grpc": ("grpc_proxy", *_HTTP),
    "grpcs": ("grpc_proxy", *_HTTPS),
}
_PORTS: Final = {"http": 80, "https": 443}
#: HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; an IPv6 address needs no brackets without a port.
_ENTRY: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?")


class ProxyError(ValueError):
    """A proxy that cannot be used. The text is for the user, and without a password."""


def find_proxy(url: str, asked: str | None, environ: Mapping[str, str]) -> str | None:
    """The URL of the proxy through which an upstream is reached. None: it is reached directly.

    Args:
        url: The upstream. Its scheme says whether the connection is encrypted from end to end.
        asked: The setting: a URL, `ENVIRONMENT` or `NONE`. None: the environment's proxy, but
            only if it cannot read what is sent.
        environ: The environment.

    Raises:
        ProxyError: The proxy cannot be used.
    """
    scheme = urlsplit(url).scheme
    if asked not in (None, ENVIRONMENT):
        return None if asked == NONE else _checked(asked or "", "proxy", scheme)
    if asked is None and scheme in ("http", "grpc"):
        return None
    variable = _variable(url, environ)
    return None if variable is None else _checked(environ[variable], variable, scheme)


def described(url: str, asked: str | None, environ: Mapping[str, str]) -> str:
    """What to add to the description of an upstream; empty if nobody expects a proxy."""
    try:
        proxy = find_proxy(url, asked, environ)
    except ProxyError as error:
        return f", through a proxy that cannot be used ({error})"
    if proxy is not None:
        parts = urlsplit(proxy)
        return f", through the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if asked is None and (variable := _variable(url, environ)) is not None:
        return f", not through the proxy of {variable}, which could read it (see --proxy)"
    return ""


def _variable(url: str, environ: Mapping[str, str]) -> str | None:
    """The environment variable with the proxy for a URL, if there is one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme)
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if is_loopback(host) or goes_direct(host, port, excepted):
        return None
    return next((name for name in _VARIABLES[parts.scheme] if environ.get(name)), None)


def goes_direct(host: str, port: int | None, excepted: str) -> bool:
    """Whether ``NO_PROXY`` names a host, as curl reads it, or a host with its port.

    Args:
        host: A name, or an IP address without brackets.
        port: Its port.
        excepted: The value: entries between commas or white space. ``*`` alone stands for all
            hosts, a name for itself and the names below it, with or without a leading dot, and a
            network such as ``10.0.0.0/8`` for the IP addresses in it. No name is looked up.
    """
    if excepted.strip() == "*":
        return True
    name = host.lower().rstrip(".")
    return any(_names(entry, name, port) for entry in excepted.lower().replace(",", " ").split())


def _names(entry: str, host: str, port: int | None) -> bool:
    address = _ip(host)
    if address is not None:
        try:
            network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
        else:
            return address in network
    match = _ENTRY.fullmatch(entry)
    if match is None or (match[3] is not None and int(match[3]) != port):
        return False
    name = (match[1] or match[2] or "").strip(".")
    if address is not None:
        return _ip(name) == address
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _checked(proxy: str, place: str, scheme: str) -> str:
    """A proxy, if it can be used for upstreams of a scheme."""
    known = ("http", "https") if scheme.startswith("http") else ("http",)
    expected = f"{place}: expected a proxy http://HOST:PORT"
    found, separator, _ = proxy.partition("://")
    if not separator:
        raise ProxyError(f"{expected}, got one without a scheme")
    if found.lower() not in known:
        kind = f" {found}://" if found.isalnum() else ""
        raise ProxyError(f"{expected}, got{kind or ' another scheme'}, which cannot be used")
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ProxyError(expected)
    return proxy
