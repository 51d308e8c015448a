"""Which server `--fallback` means, and whose key it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatpb_server.running.build import relaying
from chatpb_server.running.config import ConfigError, Given, load
from chatpb_server.running.fallback import FallbackTable, find_fallback
from chatpb_server.running.reload import merged
from support.fallback import session
from support.http_upstream import HttpUpstream, json_answer

URL = "https://llm.test/v1"
ELSEWHERE = "https://other.test/v1"
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _keys(monkeypatch: Patch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("A", "a")


def given(fallback: str, **more: Any) -> dict[str, Given]:
    flags = {"http.fallback": fallback, "http.listen": "127.0.0.1:0", **more}
    return {name: Given(f"--{name}", value) for name, value in flags.items()}


def found(fallback: str, path: Path | None = None, **more: Any) -> FallbackTable:
    """The fallback of some settings."""
    settings = load(given(fallback, **more), path, {"OPENAI_API_KEY": "k"})
    one = find_fallback(settings, {"OPENAI_API_KEY": "k"})
    assert one is not None
    return one


def test_the_server_of_an_upstream_gets_its_key() -> None:
    for url in (URL, "https://llm.test", "https://llm.test:443/other"):
        one = found(url, upstream=URL, api_key_env="A")
        assert ("default", url, "A") == (one.name, one.table.url, one.table.api_key_env)


@pytest.mark.parametrize(
    "url", [ELSEWHERE, "https://llm.test:444/v1", "http://llm.test/v1", "https://llm.test.x/v1"]
)
def test_another_server_does_not_get_it(url: str) -> None:
    one = found(url, upstream=URL, api_key_env="A")
    key = "OPENAI_API_KEY" if url.startswith("https:") else None
    assert ("fallback", url, key) == (one.name, one.table.url, one.table.api_key_env)


@pytest.mark.parametrize("auth", ["caller", "none"])
def test_auth_is_for_both(auth: str) -> None:
    one = found(ELSEWHERE, upstream=URL, auth=auth)
    assert (auth, None) == (one.table.auth, one.table.api_key_env)


def test_the_callers_authorization_is_for_a_relay_and_the_fallback() -> None:
    one = found(ELSEWHERE, upstream="grpc://127.0.0.1:1", auth="caller")
    assert ("caller", None) == (one.table.auth, one.table.api_key_env)
    one = found(ELSEWHERE, upstream="grpc://127.0.0.1:1")
    assert "OPENAI_API_KEY" == one.table.api_key_env


def test_an_upstream_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        f'[upstreams.a]\nurl = "{URL}"\napi_key_env = "A"\nquery = {{ v = "1" }}\n'
        '[upstreams.b]\nurl = "grpc://127.0.0.1:1"\n'
    )
    one = found("a", path)
    assert ("a", URL, "A", {"v": "1"}) == (
        one.name,
        one.table.url,
        one.table.api_key_env,
        one.table.query,
    )
    for wrong, text in (
        ("b", "the upstream b is another relay"),
        ("c", "expected a URL with http:// or https://, or an upstream: a, b"),
        ("grpc://a:1", "expected a URL"),
        ("https://u:p@a/v1", "without a user and a password"),
        (f"{URL}/chat/completions", "expected the base URL"),
    ):
        with pytest.raises(ConfigError) as error:
            load(given(wrong), path)
        assert str(error.value).startswith("--http.fallback: ")
        assert text in str(error.value)


def test_an_upstream_for_no_model(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(f'[upstreams.a]\nurl = "{URL}"\nmodels = []\n[upstreams.b]\nurl = "builtin"\n')
    assert () == found("a", path).table.models
    with pytest.raises(ConfigError, match=r"upstreams\.a\.models: expected at least one model"):
        load(given("https://a.test"), path)


def test_what_cannot_be_used(monkeypatch: Patch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belongs to the HTTP API"):
        load({"http.fallback": Given("--fallback", URL)})
    (tmp_path / "t").write_text(f"ann sha256:{'0' * 64}\n")
    tokens = str(tmp_path / "t")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="needs a key"):
        load(given("https://api.openai.com/v1"))
    with pytest.raises(ConfigError, match="callers send one authorization"):
        load(given(ELSEWHERE, upstream="http://127.0.0.1:1/v1", auth="caller", tokens=tokens))


def test_it_can_change_while_the_relay_runs() -> None:
    now, new = load({}), load(given(ELSEWHERE))
    now = now.model_copy(update={"http": new.http.model_copy(update={"fallback": None})})
    result, others = merged(now, new)
    assert (ELSEWHERE, []) == (result.http.fallback, others)


async def test_it_does_change() -> None:
    """A call that runs stays with the fallback that it began with."""
    async with HttpUpstream() as one, HttpUpstream() as two:
        flags = {"listen": "127.0.0.1:0"}
        async with relaying(load(given(one.url, **flags))) as at, session() as client:
            url = f"http://{at.http}/v1/files"
            for upstream in (one, two):
                await at.renew(load(given(upstream.url, **flags)))
                await upstream.answer(json_answer({}))
                async with client.get(url) as answer:
                    assert 200 == answer.status
            await at.renew(load({"http.listen": Given("", "127.0.0.1:0")}))
            async with client.get(url) as answer:
                assert 404 == answer.status
    assert [1, 1] == [len(one.requests), len(two.requests)]
