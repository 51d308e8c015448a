"""Settings: where they come from, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatpb_server.core.limits import Limits
from chatpb_server.running.build import check
from chatpb_server.running.config import ConfigError, Given, check_variables, load, load_all
from chatpb_server.running.serving import PASSED_HEADERS
from chatpb_server.running.settings import Settings
from chatpb_server.running.summary import summary
from chatpb_server.upstreams.http import HttpTable
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.upstreams.router import RetryPolicy

URL = "https://llm.test/v1"
SECRET = "sk-very-secret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration goes."""
    return tmp_path / "relay.toml"


def flags(**values: Any) -> dict[str, Given]:
    """Settings by flags; `__` stands for the dot of a table, and the flag is the last part."""
    return {
        name.replace("__", "."): Given("--" + name.split("__")[-1].replace("_", "-"), value)
        for name, value in values.items()
    }


def remote(settings: Settings, name: str = "default") -> HttpTable:
    """An upstream behind HTTP."""
    table = settings.upstreams[name]
    assert isinstance(table, HttpTable)
    return table


def mistakes(
    given: dict[str, Given], path: Path | None = None, environ: dict[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(given, path, environ)
    return [mistake.replace(str(path), "FILE") for mistake in caught.value.mistakes]


def test_defaults() -> None:
    settings = load({})
    limits = settings.limits
    assert (1000, 1000, 3600, 64 * 1024**2, 16 * 1024**2) == (
        limits.max_running,
        limits.max_waiting,
        limits.timeout,
        limits.max_message_bytes,
        limits.max_event_bytes,
    )
    assert Limits() == limits
    assert RetryPolicy() == settings.retry
    assert (3, frozenset((429, 502, 503, 504))) == (
        settings.retry.attempts,
        settings.retry.http_statuses,
    )
    [(name, upstream)] = settings.upstreams.items()
    assert ("default", "builtin", ("*",), 1) == (
        name,
        upstream.url,
        upstream.models,
        upstream.weight,
    )
    http = RemoteSettings()
    assert (10, 300) == (http.connect_timeout, http.silence_timeout)
    table = HttpTable(url=URL)
    assert (10, 300) == (table.connect_timeout, table.silence_timeout)
    assert ("127.0.0.1:50051", 30, PASSED_HEADERS, ()) == (
        settings.listen,
        settings.grace,
        settings.passed_back,
        settings.passed_on,
    )
    assert (None, None, None) == (settings.tokens, settings.tls.cert, settings.metrics.listen)


def test_a_file_says_all(file: Path) -> None:
    file.write_text("""
        listen = "[::1]:0"
        workers = 2
        grace = 1.5
        channelz = true
        tokens = "tokens.txt"
        passed_on = ["x-tenant"]
        passed_back = ["x-request-id", "x-ratelimit-*"]
        [limits]
        max_running = 1
        max_waiting = 0
        timeout = 0
        [tls]
        cert = "a/cert.pem"
        key = "/b/key.pem"
        [upstreams.azure]
        url = "https://azure.test/openai/deployments/gpt"
        models = ["gpt-*"]
        weight = 3
        api_key_file = "azure.key"
        api_key_header = "api-key"
        query = { api-version = "2024-10-21" }
        headers = { X-Team = "a" }
        ca_file = "ca.pem"
        silence_timeout = 0
        [upstreams.recorded]
        url = "replay:recordings"
        [retry]
        attempts = 1
        http_statuses = [429]
        [metrics]
        listen = "127.0.0.1:9464"
        [tracing]
        enabled = false
        [log]
        format = "json"
        level = "error"
    """)
    settings = load({}, file)
    folder = file.parent
    assert ("[::1]:0", 2, 1.5, True) == (
        settings.listen,
        settings.workers,
        settings.grace,
        settings.channelz,
    )
    assert (folder / "tokens.txt", folder / "a/cert.pem", Path("/b/key.pem")) == (
        settings.tokens,
        settings.tls.cert,
        settings.tls.key,
    )
    assert (1, 0, 0) == tuple(dict(settings.limits).values())[:3]
    azure = remote(settings, "azure")
    assert (("gpt-*",), 3, folder / "azure.key", "api-key", folder / "ca.pem", 0) == (
        azure.models,
        azure.weight,
        azure.api_key_file,
        azure.api_key_header,
        azure.ca_file,
        azure.silence_timeout,
    )
    assert ({"api-version": "2024-10-21"}, {"X-Team": "a"}) == (azure.query, azure.headers)
    assert f"replay:{folder / 'recordings'}" == settings.upstreams["recorded"].url
    assert (1, frozenset((429,))) == (settings.retry.attempts, settings.retry.http_statuses)
    assert ("127.0.0.1:9464", False) == (settings.metrics.listen, settings.tracing.enabled)
    assert ("json", "error") == (settings.log.format, settings.log.level)
    # Workers get it so.
    again = Settings.model_validate_json(settings.model_dump_json(exclude_unset=True))
    assert settings == again


def test_flags_stand_before_the_file(file: Path) -> None:
    file.write_text("grace = 1\nlimits = { max_running = 1, max_waiting = 2 }")
    settings = load(flags(grace=3.0, limits__max_running=4), file)
    assert (3, 4, 2) == (settings.grace, settings.limits.max_running, settings.limits.max_waiting)


def test_an_upstream_by_flag_stands_in_place_of_all(file: Path) -> None:
    file.write_text(f"[upstreams.a]\nurl = '{URL}'\n[upstreams.b]\nurl = 'builtin'")
    assert ["a", "b"] == [*load({}, file).upstreams]
    settings = load(flags(upstream="http://127.0.0.1:1/v1"), file)
    assert ["http://127.0.0.1:1/v1"] == [table.url for table in settings.upstreams.values()]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        pytest.param(flags(upstream=URL), "OPENAI_API_KEY", id="https"),
        pytest.param(flags(upstream="http://127.0.0.1:8000/v1"), "OPENAI_API_KEY", id="here"),
        pytest.param(flags(upstream="http://[::1]:8000/v1"), "OPENAI_API_KEY", id="here, IPv6"),
        pytest.param(flags(upstream="http://localhost/v1"), "OPENAI_API_KEY", id="localhost"),
        pytest.param(flags(upstream="http://vllm:8000/v1"), None, id="not in the open"),
        pytest.param(
            flags(upstream="http://vllm:8000/v1", auth="key"), "OPENAI_API_KEY", id="unless asked"
        ),
        pytest.param(flags(upstream=URL, auth="none"), None, id="none"),
        pytest.param(flags(upstream=URL, auth="caller"), None, id="the caller's"),
        pytest.param(flags(upstream=URL, api_key_env="OTHER"), "OTHER", id="another one"),
        pytest.param(flags(upstream=URL, api_key_file="key"), None, id="a file"),
        pytest.param(flags(), None, id="builtin"),
    ],
)
def test_the_key_of_an_upstream_by_its_url(given: dict[str, Given], key: str | None) -> None:
    settings = load(given, environ={"OPENAI_API_KEY": SECRET})
    assert key == getattr(settings.upstreams["default"], "api_key_env", None)


def test_without_a_key_in_the_environment_there_is_none() -> None:
    assert not remote(load(flags(upstream=URL))).has_key


def test_upstreams_in_tables_get_no_key_unasked(file: Path) -> None:
    file.write_text(f"[upstreams.a]\nurl = '{URL}'")
    settings = load({}, file, {"OPENAI_API_KEY": SECRET})
    assert not remote(settings, "a").has_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "grace = ", "FILE: not TOML, at end of document; strings need quotes", id="toml"
        ),
        pytest.param("a = " + "[" * 9999, "FILE: nested too deeply", id="deep"),
        pytest.param("worker = 1", "FILE: worker: unknown key; did you mean workers?", id="key"),
        pytest.param(
            "[tracing]\nurl = ''",
            "FILE: tracing.url: unknown key; known are enabled, content",
            id="in table",
        ),
        pytest.param(
            "[upstreams.azure]\nurl = 'builtin'\nwieght = 2",
            "FILE: upstreams.azure.wieght: unknown key; did you mean weight?",
            id="in an upstream",
        ),
        pytest.param(
            "[upstreams.azure]\nurl = 'builtin'\nweight = -2",
            "FILE: upstreams.azure.weight: expected a number greater than or equal to 0",
            id="range",
        ),
        pytest.param("grace = '3'", "FILE: grace: expected a valid number", id="type"),
        pytest.param("workers = 1.5", "FILE: workers: expected a valid integer", id="whole"),
        pytest.param("limits = 3", "FILE: limits: expected a table", id="table"),
        pytest.param("upstreams = 3", "FILE: upstreams: expected an object", id="tables"),
        pytest.param("grace = nan", "FILE: grace: expected a finite number", id="nan"),
        pytest.param(
            "[log]\nlevel = 'loud'",
            "FILE: log.level: expected 'debug', 'info', 'warning' or 'error'",
            id="word",
        ),
        pytest.param("[upstreams.a]", "FILE: upstreams.a.url: is missing", id="missing"),
        pytest.param(
            "[upstreams.'a b']\nurl = 'builtin'",
            "FILE: upstreams.a b: expected a name of up to 64 letters, digits and . _ -",
            id="name",
        ),
        pytest.param(
            "passed_on = ['authorization']",
            'FILE: passed_on.0: set auth = "caller" for each upstream that requires it',
            id="authorization",
        ),
        pytest.param(
            "passed_back = ['*']",
            "FILE: passed_back.0: expected the name of a header, with * for any text but not as the"
            " first letter",
            id="all headers",
        ),
        pytest.param(
            f"upstream = '{URL}'\n[upstreams.a]\nurl = 'builtin'",
            "FILE: upstream: belongs to one upstream; there are [upstreams.NAME]",
            id="both",
        ),
        pytest.param(
            "[upstreams.a]\nurl = 'builtin'\nauth = 'none'",
            "FILE: upstreams.a: auth is for upstreams with a URL, and this is builtin",
            id="builtin",
        ),
        pytest.param(
            f"[upstreams.a]\nurl = '{URL}'\nauth = 'key'",
            'FILE: upstreams.a: auth "key" needs api_key_env or api_key_file',
            id="no key",
        ),
        pytest.param(
            f"[upstreams.a]\nurl = '{URL}'\nauth = 'caller'\napi_key_env = 'A'",
            'FILE: upstreams.a: auth "caller" and a key: expected one of them',
            id="two",
        ),
        pytest.param(
            f"tokens = 't'\n[upstreams.a]\nurl = '{URL}'\nauth = 'caller'",
            "FILE: upstreams.a.auth: callers send one authorization: with tokens (--tokens) it"
            " is for the relay; give the upstream a key of its own, or authenticate the callers by"
            " tls.client_ca (--tls-client-ca)",
            id="tokens",
        ),
        pytest.param(
            f"[upstreams.a]\nurl = '{URL}'\nheaders = {{ Authorization = '{SECRET}' }}",
            "FILE: upstreams.a: headers: Authorization is for api_key_env or api_key_file",
            id="key in headers",
        ),
        pytest.param(
            f"[upstreams.a]\nurl = '{URL}'\nheaders = {{ x = '{SECRET}\\u000a' }}".replace(
                "'", '"'
            ),
            "FILE: upstreams.a: expected printable ASCII as the value of the header x",
            id="header",
        ),
        pytest.param(
            f"[upstreams.a]\nurl = '{URL}'\napi_key = '{SECRET}'",
            "FILE: upstreams.a.api_key: unknown key; did you mean api_key_env?",
            id="a key",
        ),
        pytest.param(
            "[tls]\ncert = 'a'",
            "FILE: tls: expected both cert (--tls-cert) and key (--tls-key)",
            id="tls",
        ),
    ],
)
def test_a_mistake_in_a_file(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    assert [expected] == mistakes({}, file)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *(
            pytest.param(
                url,
                "expected builtin, replay:PATH, a base URL such as https://api.openai.com/v1, or"
                " another relay, grpc://HOST:PORT",
                id=url or "empty",
            )
            for url in (
                "",
                "openai",
                "ftp://a/",
                "https://",
                "http://a:x/",
                "http://[::1/",
                "replay:",
            )
        ),
        pytest.param(
            f"https://me:{SECRET}@a/v1",
            "expected a URL without a user and a password; a key is for api_key_env",
            id="password",
        ),
        pytest.param(
            f"{URL}/chat/completions",
            "expected the base URL, without /chat/completions",
            id="the whole path",
        ),
        pytest.param(f"{URL}#a", "expected a URL without #", id="fragment"),
        pytest.param(
            "https://api.openai.com/v1",
            "needs a key: set OPENAI_API_KEY, name another variable with api_key_env"
            " (--api-key-env), or a file with api_key_file (--api-key-file); or pass the callers'"
            ' own on with auth = "caller" (--auth caller)',
            id="no key",
        ),
    ],
)
def test_a_mistake_in_the_url(url: str, expected: str) -> None:
    assert [f"--upstream: {expected}"] == mistakes(flags(upstream=url))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            {"grace": Given("CHATPB_SERVER_GRACE", -1.0)},
            "CHATPB_SERVER_GRACE: expected a number greater than or equal to 0",
            id="environment",
        ),
        pytest.param(
            flags(api_key_env="A"),
            "--api-key-env: api_key_env is for upstreams with a URL, and this is builtin",
            id="key for builtin",
        ),
        pytest.param(
            flags(tls__client_ca="a"),
            "--client-ca: client_ca (--tls-client-ca) needs cert (--tls-cert) and key (--tls-key)"
            " too",
            id="client CA",
        ),
        pytest.param(
            flags(metrics__listen="0.0.0.0:1"),
            "--listen: will not serve metrics on 0.0.0.0, beyond loopback, without TLS and"
            " authentication, which they never have; if that is intended, set"
            " insecure_listen = true (--insecure-metrics-listen)",
            id="metrics",
        ),
        pytest.param(
            flags(passed_back=["x-a", "Set-Cookie"]),
            "--passed-back: is set by the relay itself, or belongs to one connection or a browser",
            id="one of several",
        ),
        pytest.param(
            flags(listen="0.0.0.0:1", tls__cert="a", tls__key="b"),
            "--listen: will not listen on 0.0.0.0, beyond loopback, without authentication"
            " (tokens or tls.client_ca; --tokens or --tls-client-ca); if something in front of the"
            " relay provides that, set insecure_listen = true (--insecure-listen)",
            id="beyond loopback",
        ),
    ],
)
def test_a_mistake_in_a_flag(given: dict[str, Given], expected: str) -> None:
    assert [expected] == mistakes(given)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(flags(listen="0.0.0.0:1", insecure_listen=True), id="said out loud"),
        pytest.param(flags(listen="[::]:1", tls__cert="a", tls__key="b", tokens="c"), id="tokens"),
        pytest.param(
            flags(listen="[::]:1", tls__cert="a", tls__key="b", tls__client_ca="c"), id="mutual TLS"
        ),
        pytest.param(
            flags(metrics__listen="0.0.0.0:1", metrics__insecure_listen=True), id="metrics"
        ),
    ],
)
def test_beyond_loopback(given: dict[str, Given]) -> None:
    load(given)


def test_all_mistakes_are_told(file: Path) -> None:
    file.write_text("grace = -1\nworkers = 0")
    assert ["FILE: workers", "FILE: grace"] == [
        mistake.rpartition(":")[0] for mistake in mistakes({}, file)
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nothing.toml"
    expected = "cannot read the configuration FILE: no such file or directory"
    assert [expected] == mistakes({}, path)


def test_a_misspelt_variable() -> None:
    known = ["CHATPB_SERVER_UPSTREAM", "CHATPB_SERVER_API_KEY_ENV"]
    others = (
        "CHATPB_SERVER_PORT",
        "CHATPB_SERVER_SERVICE_HOST",
        "CHATPB_SERVER_API_KEY",
        "UPSTREM",
    )
    check_variables(dict.fromkeys([*known, *others], ""), known)
    with pytest.raises(ConfigError) as caught:
        check_variables({"CHATPB_SERVER_UPSTREM": SECRET}, known)
    expected = "CHATPB_SERVER_UPSTREM: unknown variable; did you mean CHATPB_SERVER_UPSTREAM?"
    assert (expected,) == caught.value.mistakes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            flags(upstream=URL, api_key_env="CHATPB_TEST_NO_KEY"),
            "upstream default: the environment variable CHATPB_TEST_NO_KEY is not set: it must"
            " contain a secret",
            id="key",
        ),
        pytest.param(
            flags(upstream="replay:nowhere"),
            "upstream default: nowhere: expected a recording: .json, .jsonl, .ndjson, .sse, or a"
            " folder",
            id="recordings",
        ),
        pytest.param(
            flags(tls__cert="nowhere", tls__key="nowhere"),
            "cannot read the certificate nowhere: no such file or directory",
            id="certificate",
        ),
        pytest.param(
            flags(tokens="nowhere"),
            "cannot read the tokens nowhere: no such file or directory",
            id="tokens",
        ),
    ],
)
def test_what_cannot_be_read(given: dict[str, Given], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(load(given))
    assert (expected,) == caught.value.mistakes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(None, "no such file or directory", id="nothing"),
        pytest.param("", "expected certificates in PEM form", id="empty"),
        pytest.param("word", "expected certificates in PEM form", id="text"),
    ],
)
def test_authorities_that_cannot_be_read(file: Path, data: str | None, reason: str) -> None:
    file.write_text(f"[upstreams.a]\nurl = '{URL}'\nca_file = 'ca.pem'")
    ca = file.with_name("ca.pem")
    if data is not None:
        ca.write_text(data)
    with pytest.raises(ConfigError) as caught:
        check(load({}, file))
    assert (f"upstream a: cannot use the ca_file {ca}: {reason}",) == caught.value.mistakes


def test_nothing_that_is_shown_is_secret(file: Path) -> None:
    file.write_text(
        f"[upstreams.a]\nurl = '{URL}?key={SECRET}'\nheaders = {{ x = '{SECRET}' }}\n"
        f"query = {{ x = '{SECRET}' }}\napi_key_env = 'KEY'"
    )
    loaded = load_all({}, file)
    settings = loaded.settings
    assert SECRET not in summary(loaded)
    assert f"{URL} with a key from KEY; models *; weight 1" in summary(loaded)
    assert SECRET not in repr(settings)
