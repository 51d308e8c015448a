"""HTTP statuses in gRPC's metadata."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from chatpb._rpc.status import HTTP_STATUS_KEY, HTTP_STATUSES, upstream_http_status


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("400", 400, id="the first"),
        pytest.param("422", 422, id="of a client's mistake"),
        pytest.param("599", 599, id="the last"),
        pytest.param("200", None, id="success"),
        pytest.param("302", None, id="a redirect, which a client would follow"),
        pytest.param("399", None, id="below"),
        pytest.param("600", None, id="above"),
        pytest.param("0429", None, id="four digits"),
        pytest.param("4" * 5000, None, id="more digits than Python reads"),
        pytest.param("-400", None, id="a sign"),
        pytest.param("٤٢٢", None, id="digits of another script"),
        pytest.param(b"422", None, id="bytes"),
        pytest.param("", None, id="empty"),
    ],
)
def test_the_http_status_of_an_upstream(value: str | bytes, expected: int | None) -> None:
    assert expected == upstream_http_status({HTTP_STATUS_KEY: value})


def test_no_http_status_of_an_upstream() -> None:
    assert None is upstream_http_status({"x-request-id": "422"})


def test_each_status_that_is_a_failure_has_an_http_status() -> None:
    assert set(StatusCode) - {StatusCode.OK} == set(HTTP_STATUSES)
