"""Secrets, and what may stand in a header."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from chatpb_server.access.secret import HeaderError, Secret, SecretError, check_header
from support.files import replace

KEY = "sk-Zm9v/YmFy+x=="


def test_a_secret_hides_its_value(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    for secret, source in (
        (Secret.from_env("API_KEY", {"API_KEY": KEY}), "the environment variable API_KEY"),
        (Secret.from_file(path), path),
    ):
        assert KEY == secret.reveal()
        assert [f"<secret from {source}>"] * 4 == [
            repr(secret),
            str(secret),
            f"{secret}",
            "%s" % secret,  # noqa: UP031 (as logging does)
        ]
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(secret)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(KEY, id="bare"),
        pytest.param(f"{KEY}\n", id="line"),
        pytest.param(f"{KEY}\r\n", id="line of Windows"),
    ],
)
def test_a_line_end_is_not_of_the_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(text.encode())
    assert KEY == Secret.from_file(path).reveal()
    assert KEY == Secret.from_env("API_KEY", {"API_KEY": text}).reveal()


NOT_ONE_LINE = (
    " must contain a secret of one line, in printable ASCII, with no space before or after it"
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", " is empty: it must contain a secret", id="empty"),
        pytest.param(b"\n", " is empty: it must contain a secret", id="a line's end"),
        pytest.param(b"sk\r\nX-Admin: 1", NOT_ONE_LINE, id="CR LF"),
        pytest.param(b"sk\nX-Admin: 1\n", NOT_ONE_LINE, id="LF"),
        pytest.param(b"sk\rX-Admin: 1", NOT_ONE_LINE, id="CR"),
        pytest.param(b"sk\x00", NOT_ONE_LINE, id="NUL"),
        pytest.param(b"sk\x7f", NOT_ONE_LINE, id="DEL"),
        pytest.param(b"sk\xc2\x85X", NOT_ONE_LINE, id="NEL"),
        pytest.param("sk\u010aX".encode(), NOT_ONE_LINE, id="ends in the byte of LF"),
        pytest.param(b"sk\xff", NOT_ONE_LINE, id="not UTF-8"),
        pytest.param(b" sk", NOT_ONE_LINE, id="space before"),
        pytest.param(b"sk \n", NOT_ONE_LINE, id="space after"),
    ],
)
def test_secrets_that_are_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(data)
    with pytest.raises(SecretError) as caught:
        Secret.from_file(path)
    assert f"{path}{expected}" == str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(SecretError) as caught:
        Secret.from_env("API_KEY", {"API_KEY": data.decode("utf-8", "surrogateescape")})
    assert f"the environment variable API_KEY{expected}" == str(caught.value)


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(SecretError) as caught:
        Secret.from_file(path)
    assert f"cannot read the secret {path}: no such file or directory" == str(caught.value)
    with pytest.raises(SecretError) as caught:
        Secret.from_env("API_KEY", {})
    assert "the environment variable API_KEY is not set: it must contain a secret" == str(
        caught.value
    )


def test_a_secret_follows_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key"
    path.write_text(KEY)
    secret = Secret.from_file(path)
    replace(path, "sk-bad\nX-Admin: 1")
    assert KEY == secret.reveal()
    replace(path, "sk-new\n")
    assert "sk-new" == secret.reveal()
    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]
    assert "sk-" not in caplog.text
    assert "X-Admin" not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-request-id", "a b\tc"),
        ("X_1.~", ""),
        ("authorization", "Bearer !~"),
    ],
)
def test_headers(name: str, value: str) -> None:
    check_header(name, value)


BAD_NAME = "expected a header's name of letters, digits and !#$%&'*+-.^_`|~"
BAD_VALUE = "expected printable ASCII as the value of the header x-a"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("x-a", "1\r\nx-admin: 1", BAD_VALUE, id="CR LF"),
        pytest.param("x-a", "1\nx-admin: 1", BAD_VALUE, id="LF"),
        pytest.param("x-a", "1\n", BAD_VALUE, id="LF at the end"),
        pytest.param("x-a", "1\r", BAD_VALUE, id="CR"),
        pytest.param("x-a", "1\0", BAD_VALUE, id="NUL"),
        pytest.param("x-a", "1\x0b", BAD_VALUE, id="VT"),
        pytest.param("x-a", "1\x7f", BAD_VALUE, id="DEL"),
        pytest.param("x-a", "1\x85", BAD_VALUE, id="NEL"),
        pytest.param("x-a", "1\u2028", BAD_VALUE, id="line separator"),
        pytest.param("x-a", "1\u010a", BAD_VALUE, id="ends in the byte of LF"),
        pytest.param("x-a", "é", BAD_VALUE, id="not ASCII"),
        pytest.param("", "1", BAD_NAME, id="no name"),
        pytest.param("x a", "1", BAD_NAME, id="space in the name"),
        pytest.param("x-a:", "1", BAD_NAME, id="colon in the name"),
        pytest.param(":path", "1", BAD_NAME, id="pseudo-header"),
        pytest.param("x-a\r\nx-admin", "1", BAD_NAME, id="CR LF in the name"),
        pytest.param("x-a\n", "1", BAD_NAME, id="LF after the name"),
        pytest.param("x-é", "1", BAD_NAME, id="name not ASCII"),
    ],
)
def test_headers_that_are_refused(name: str, value: str, expected: str) -> None:
    with pytest.raises(HeaderError) as caught:
        check_header(name, value)
    assert expected == str(caught.value)
