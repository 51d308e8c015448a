"""Addresses to listen on, and what may be reached from beyond this machine."""

from __future__ import annotations

import socket

import pytest

from chatpb_server.access.address import Address, AddressError, check_exposure

TLS = "TLS (tls.cert and tls.key; --tls-cert and --tls-key)"
AUTHENTICATION = "authentication (tokens or tls.client_ca; --tokens or --tls-client-ca)"


@pytest.mark.parametrize(
    ("text", "expected", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", True),
        ("localhost:0", "127.0.0.1:0", True),
        ("127.1.2.3:65535", "127.1.2.3:65535", True),
        ("[::1]:1", "[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", str(Address("::ffff:127.0.0.1", 1)), True),
        ("0.0.0.0:1", "0.0.0.0:1", False),
        ("[::]:1", "[::]:1", False),
        ("[0:0::0]:1", "[::]:1", False),
        ("192.0.2.1:1", "192.0.2.1:1", False),
        ("10.0.0.1:1", "10.0.0.1:1", False),
        ("[2001:db8::1]:1", "[2001:db8::1]:1", False),
        ("[::ffff:192.0.2.1]:1", str(Address("::ffff:192.0.2.1", 1)), False),
    ],
)
def test_addresses(text: str, expected: str, loopback: bool) -> None:
    address = Address.parse(text)
    assert Address.parse(expected) == address
    assert loopback == address.is_loopback


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::1:1", "expected brackets around the IPv6 address, got '::1:1'"),
        ("example.com:1", "expected an IP address or localhost, got 'example.com'"),
        ("127.1:1", "expected an IP address or localhost, got '127.1'"),
        ("0:1", "expected an IP address or localhost, got '0'"),
        (":50051", "expected an IP address or localhost, got ''"),
        ("50051", "expected HOST:PORT with a port from 0 to 65535, got '50051'"),
        (
            "127.0.0.1:65536",
            "expected HOST:PORT with a port from 0 to 65535, got '127.0.0.1:65536'",
        ),
        ("127.0.0.1:-1", "expected HOST:PORT with a port from 0 to 65535, got '127.0.0.1:-1'"),
        ("127.0.0.1:", "expected HOST:PORT with a port from 0 to 65535, got '127.0.0.1:'"),
    ],
)
def test_addresses_that_are_refused(text: str, expected: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("host", "tls", "authentication", "insecure", "missing"),
    [
        pytest.param("127.0.0.1", False, False, False, None, id="loopback"),
        pytest.param("::1", False, False, False, None, id="loopback, IPv6"),
        pytest.param("0.0.0.0", True, True, False, None, id="safe"),
        pytest.param("0.0.0.0", False, False, True, None, id="said out loud"),
        pytest.param("0.0.0.0", False, True, True, None, id="said out loud, with tokens"),
        pytest.param("0.0.0.0", False, False, False, f"{TLS} and {AUTHENTICATION}", id="bare"),
        pytest.param("::", False, False, False, f"{TLS} and {AUTHENTICATION}", id="bare, IPv6"),
        pytest.param("192.0.2.1", True, False, False, AUTHENTICATION, id="TLS only"),
        pytest.param("192.0.2.1", False, True, False, TLS, id="authentication only"),
    ],
)
def test_exposure(
    host: str, tls: bool, authentication: bool, insecure: bool, missing: str | None
) -> None:
    def check() -> None:
        check_exposure(Address(host, 1), tls=tls, authentication=authentication, insecure=insecure)

    if missing is None:
        check()
        return
    with pytest.raises(AddressError) as caught:
        check()
    assert (
        f"will not listen on {host}, beyond loopback, without {missing}; if something in"
        " front of the relay provides that, set insecure_listen = true (--insecure-listen)"
    ) == str(caught.value)


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(*taken.getsockname())
        with pytest.raises(AddressError) as caught:
            address.check_free()
        assert f"cannot listen on {address}: address already in use" == str(caught.value)
    address.check_free()
