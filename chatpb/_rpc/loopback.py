"""Which addresses belong to this machine alone. Imports no gRPC, so that anybody may import it."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can be reached at a host.

    Args:
        host: A literal IP address without brackets, or a name. No name is looked up, so only
            ``localhost`` is known to be this machine.
    """
    if host.lower() == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Before Python 3.13, `is_loopback` is False for ::ffff:127.0.0.1.
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
