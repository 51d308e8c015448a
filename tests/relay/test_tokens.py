"""Callers' tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Any

import pytest

from chatpb_server.access.tokens import Tokens, TokensError, bearer, new_token
from support.files import replace

NAME_RULE = (
    "expected a name of up to 64 letters, digits and . _ @ : / + -, that begins with a letter or"
    " digit and not with chatpb_"
)


def line(name: str, token: str) -> str:
    """The line for a token, as another program would make it."""
    return f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the token ``a`` of alice, and ``b`` and ``c`` of bob."""
    path = tmp_path / "tokens"
    text = (
        "# callers, by Ünal\r\n"
        "\n"
        f"{line('alice', 'a')}  # since spring\r\n"
        f"\t{line('bob@example.com', 'b').upper().replace('SHA', 'sha').replace('BOB', 'bob')}\n"
        f"{line('bob@EXAMPLE.COM', 'c')}"
    )
    path.write_text(text, newline="")
    return path


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("a", "alice"),
        ("b", "bob@EXAMPLE.COM"),
        ("c", "bob@EXAMPLE.COM"),
        ("d", None),
        ("A", None),
        ("a ", None),
        ("", None),
        ("alice", None),
        (hashlib.sha256(b"a").hexdigest(), None),
        ("é\ud800", None),
    ],
)
def test_names(path: Path, token: str, expected: str | None) -> None:
    assert expected == Tokens(path).name_of(token)


@pytest.mark.parametrize("token", ["a", "b", "c", "d"])
def test_every_hash_is_compared(path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes does not tell which caller it is, or how near a token is."""
    compared: list[bytes] = []
    compare: Any = hmac.compare_digest

    def count(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return bool(compare(known, given))

    tokens = Tokens(path)
    monkeypatch.setattr(hmac, "compare_digest", count)
    tokens.name_of(token)
    assert [hashlib.sha256(known).digest() for known in (b"a", b"b", b"c")] == compared


def test_a_new_token_is_known_by_its_line(tmp_path: Path) -> None:
    token, text = new_token("alice")
    other, _ = new_token("alice")
    path = tmp_path / "tokens"
    path.write_text(text + "\n")
    tokens = Tokens(path)
    assert ("alice", None) == (tokens.name_of(token), tokens.name_of(other))
    assert token.startswith("chatpb_")
    assert len("chatpb_") + 43 == len(token)
    assert line("alice", token) == text


@pytest.mark.parametrize(
    "name", ["", "a b", "a#b", "-a", "a\n", "é", "a" * 65, "chatpb_x", "a,b", 'a"']
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(TokensError) as caught:
        new_token(name)
    assert NAME_RULE == str(caught.value)


SHAPE = "expected NAME sha256:HEX, with 64 digits, as `chatpb-server token NAME` prints it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("chatpb_SECRET", f", line 1: {SHAPE}", id="a token"),
        pytest.param("alice chatpb_SECRET", f", line 1: {SHAPE}", id="a name and a token"),
        pytest.param(f"\n{line('x', 'a')} SECRET", f", line 2: {SHAPE}", id="more"),
        pytest.param(f"a {line('SECRET', 'a')}", f", line 1: {SHAPE}", id="a name of two words"),
        pytest.param(line("x", "a")[:-1], f", line 1: {SHAPE}", id="cut off"),
        pytest.param(line("x", "a").replace("256", "512"), f", line 1: {SHAPE}", id="sha512"),
        pytest.param(line("x", "a")[2:], f", line 1: {SHAPE}", id="no name"),
        pytest.param(
            f"# {line('x', 'a')}\n{line('chatpb_SECRET', 'a')}",
            f", line 2: {NAME_RULE}",
            id="a token for a name",
        ),
        pytest.param(line("é", "a"), f", line 1: {NAME_RULE}", id="a name beyond ASCII"),
        pytest.param(
            f"{line('x', 'a')}\n\n{line('SECRET', 'a')}",
            ", line 3: it repeats the token of line 1; give each line its own, from"
            " `chatpb-server token NAME`",
            id="one token twice",
        ),
        pytest.param(
            "# SECRET\n",
            " names no caller: add a line from `chatpb-server token NAME`",
            id="nobody",
        ),
        pytest.param(
            "", " names no caller: add a line from `chatpb-server token NAME`", id="empty"
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Their texts are not told: a token may be among them."""
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(TokensError) as caught:
        Tokens(path)
    assert f"{path}{expected}" == str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TokensError) as caught:
        Tokens(tmp_path / "tokens")
    expected = f"cannot read the tokens {tmp_path / 'tokens'}: no such file or directory"
    assert expected == str(caught.value)


def test_callers_follow_the_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(path)
    assert ["alice", None] == [tokens.name_of("a"), tokens.name_of("d")]
    replace(path, line("dora", "d"))
    assert [None, "dora"] == [tokens.name_of("a"), tokens.name_of("d")]
    replace(path, f"{line('eve', 'e')}\nfrank SECRET")
    assert [None, "dora"] == [tokens.name_of("e"), tokens.name_of("d")]
    replace(path, line("eve", "e"))
    assert ["eve", None] == [tokens.name_of("e"), tokens.name_of("d")]
    assert [
        ("INFO", f"read {path} again"),
        ("WARNING", f"{path}, line 2: {SHAPE}; what was read before stays in use"),
        ("INFO", f"read {path} again"),
    ] == [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param([("authorization", "Bearer chatpb_x")], "chatpb_x", id="bearer"),
        pytest.param([("a", "b"), ("authorization", "bearer  x ")], "x", id="as it is written"),
        pytest.param(None, None, id="no metadata"),
        pytest.param([("a", "Bearer x")], None, id="no authorization"),
        pytest.param([("authorization", "Basic x")], None, id="another scheme"),
        pytest.param([("authorization", "Bearer")], None, id="no token"),
        pytest.param([("authorization", "Bearer ")], None, id="empty"),
        pytest.param([("authorization", "x")], None, id="no scheme"),
        pytest.param([("authorization", "Bearer x y")], None, id="two words"),
        pytest.param([("authorization", b"Bearer x")], None, id="bytes"),
        pytest.param(
            [("authorization", "Bearer x"), ("authorization", "Bearer y")], None, id="two"
        ),
    ],
)
def test_bearer(metadata: Any, expected: str | None) -> None:
    assert expected == bearer(metadata)
