"""Which targets are certain to be on this machine: only they get secrets without encryption."""

from __future__ import annotations

import pytest

from chatpb._rpc.server import Server


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("127.0.0.1:50051", True, id="IPv4"),
        pytest.param("localhost:50051", True, id="the name"),
        pytest.param("localhost", True, id="without a port"),
        pytest.param("[::1]:50051", True, id="IPv6"),
        pytest.param("[::ffff:127.0.0.1]:50051", True, id="IPv4 in IPv6"),
        pytest.param("::1", True, id="IPv6 without brackets"),
        pytest.param("dns:///localhost:50051", True, id="the scheme dns"),
        pytest.param("unix:/run/relay.sock", True, id="a socket"),
        pytest.param("ipv4:127.0.0.1:1,127.0.0.2:1", True, id="two addresses"),
        pytest.param("ipv4:127.0.0.1:1,10.0.0.1:1", False, id="two addresses, one elsewhere"),
        pytest.param("ipv6:[::1]:1", True, id="the scheme ipv6"),
        pytest.param("dns://127.0.0.1/localhost:1", False, id="another name server"),
        pytest.param("10.0.0.1:50051", False, id="another machine"),
        pytest.param("relay.example.com:50051", False, id="a name"),
        pytest.param("xds:///localhost", False, id="another scheme"),
    ],
)
def test_secrets_stay_on_this_machine(target: str, expected: bool) -> None:
    server = Server(
        target,
        credentials=None,
        token=None,
        allow_insecure_token=False,
        metadata=(),
        options=(),
        retries=False,
    )
    assert expected == server.may_send_secrets
