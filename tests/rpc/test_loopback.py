"""Which hosts are this machine."""

from __future__ import annotations

import pytest

from chatpb._rpc.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("localhost", True, id="the name"),
        pytest.param("LocalHost", True, id="the name, in other letters"),
        pytest.param("127.0.0.1", True, id="IPv4"),
        pytest.param("127.255.255.254", True, id="IPv4, the last"),
        pytest.param("::1", True, id="IPv6"),
        pytest.param("::ffff:127.0.0.1", True, id="IPv4 in IPv6"),
        pytest.param("0.0.0.0", False, id="all of IPv4"),
        pytest.param("::", False, id="all of IPv6"),
        pytest.param("::ffff:10.0.0.1", False, id="another machine's IPv4 in IPv6"),
        pytest.param("128.0.0.1", False, id="another machine's"),
        pytest.param("localhost.example.com", False, id="another name"),
        pytest.param("127.0.0.1.example.com", False, id="a name that begins like an address"),
        pytest.param("[::1]", False, id="brackets"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert expected == is_loopback(host)
