"""Each setting: its declaration, and the flag, the variable, the help and the page made from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from chatpb_server.core.setting import Declaration
from chatpb_server.running import cli
from chatpb_server.running.flags import bare_type, default_text
from chatpb_server.running.reference import reference
from chatpb_server.running.settings import all_settings
from chatpb_server.upstreams.registry import kinds

Said = Callable[..., tuple[int, str, str]]
Patch = pytest.MonkeyPatch

PAGE = Path(__file__).parents[2] / "docs/settings.md"
URL = "https://llm.test/v1"
ALL = [pytest.param(one, id=one.name) for one in all_settings()]
FLAGS = [pytest.param(one, id=one.setting.flag) for one in all_settings() if one.setting.flag]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> Said:
    """Checks settings, but not the files that they name."""
    monkeypatch.setattr(cli, "check", lambda _: None)

    def run_and_read(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["--check-config", *arguments])
        return (code, *capsys.readouterr())

    return run_and_read


def good(one: Declaration) -> Any:
    """A value other than the default, as a file contains it."""
    kind = bare_type(one)
    if get_origin(kind) is Literal:
        return next(word for word in get_args(kind) if word != one.field.default)
    texts = {"HOST:PORT": "127.0.0.1:0", "UPSTREAM": "replay:a", "ORIGIN": "https://a.test"}
    if one.name == "record.rules":
        return [{"caller": "a*", "model": "*", "keep": "none"}]
    texts |= {"URL|UPSTREAM": URL, "URL": "sqlite:///a.db", "AGE": "7d"}
    text = texts.get(one.setting.value, "a")
    values = {bool: True, int: 2, float: 2, frozenset: [500], tuple: [text], dict: {"a": "b"}}
    return values.get(get_origin(kind) or kind, text)


def bad(one: Declaration) -> list[str]:
    """Wrong values, as a flag or a variable has them."""
    kind = bare_type(one)
    if kind in (int, float):
        return ["a", "-1"]
    places = ("HOST:PORT", "UPSTREAM", "ORIGIN", "URL|UPSTREAM", "URL", "AGE")
    if one.setting.value in places or get_origin(kind) in (dict, Literal):
        return ["nowhere"]
    return []  # any text is a path or a name


def as_text(value: Any) -> str:
    """A value, as a flag or a variable has it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(value)
    return str(value)


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


def write(path: Path, one: Declaration, *, upstream: str, value: Any = None) -> None:
    """Writes a file with a setting, and what else it needs.

    Args:
        path: The file.
        one: The setting.
        upstream: What the keys of its upstream begin with, if it belongs to one.
        value: The value of the setting. None: the file does not set it.
    """
    form = next((kind.form for kind in kinds() if issubclass(kind, one.table)), "")
    url = f"{upstream}url" if upstream else "upstream"
    needed: dict[str, dict[str, object]] = {
        "tls": {"tls.cert": "c", "tls.key": "k"},
        "record": {"record.directory": "d"},
        "store": {"store.url": "sqlite:///b.db"},
        "upstreams": {url: form.replace("PORT", "1")},
    }
    keys = needed.get(one.key[0], {})
    if one.key[-1] in ("max_held_bytes", "max_connection_bytes"):
        keys["limits.max_message_bytes"] = 1
    if one.key[-1] == "fallback":
        keys["http.listen"] = "127.0.0.1:0"
    if one.key[-1] == "auth":
        keys[f"{upstream}api_key_env"] = "A"
    if value is not None:
        name = upstream + one.key[-1] if one.key[0] == "upstreams" else one.name
        keys[name] = value
    path.write_text("".join(f"{key} = {as_toml(each)}\n" for key, each in keys.items()))


def origin(one: Declaration, upstream: str, place: object) -> tuple[str, str]:
    """How the line of a setting begins and ends."""
    return f"  {one.name.replace('NAME', upstream)} = ", f"  ({place})"


def assert_set(output: str, begin: str, end: str) -> None:
    assert [begin] == [
        begin for line in output.splitlines() if line.startswith(begin) and line.endswith(end)
    ]


def test_the_page_is_fresh() -> None:
    """If this fails: `make settings`."""
    assert reference() == PAGE.read_text()


@pytest.mark.parametrize("one", ALL)
def test_a_setting_is_explained(one: Declaration, said: Said) -> None:
    setting = one.setting
    assert setting.help.endswith(".")
    assert (bare_type(one) in (int, float)) == bool(setting.unit)
    [row] = [line for line in PAGE.read_text().splitlines() if setting.help in line]
    assert row.startswith(f"| `{one.key[-1]}` | ")
    for part in (setting.flag, setting.variable, setting.unit, default_text(one)):
        assert part in row
    if setting.flag:
        text = " ".join(said("--help")[1].split())
        assert setting.flag in text
        assert setting.unit.upper() in text
        assert " ".join(setting.help.split()) in text


@pytest.mark.parametrize("one", ALL)
def test_a_setting_in_a_file(one: Declaration, said: Said, tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write(path, one, upstream="upstreams.a.", value=good(one))
    code, output, errors = said("--config", str(path))
    assert (0, "") == (code, errors)
    assert_set(output, *origin(one, "a", path))
    wrong = 1 if isinstance(good(one), list | dict) else [1]
    write(path, one, upstream="upstreams.a.", value=wrong)
    code, output, errors = said("--config", str(path))
    assert (2, "") == (code, output)
    assert errors.startswith(f"chatpb-server: {path}: {one.name.replace('NAME', 'a')}")


@pytest.mark.parametrize("way", ["flag", "variable"])
@pytest.mark.parametrize("one", FLAGS)
def test_a_setting_of_the_command_line(
    one: Declaration, way: str, said: Said, tmp_path: Path, monkeypatch: Patch
) -> None:
    path = tmp_path / "relay.toml"
    write(path, one, upstream="")
    is_switch = bare_type(one) is bool
    place = one.setting.flag if way == "flag" else one.setting.variable

    def given(text: str) -> tuple[int, str, str]:
        arguments = ["--config", str(path)]
        if way == "variable":
            monkeypatch.setenv(place, text)
        else:
            arguments.append(place if is_switch else f"{place}={text}")
        return said(*arguments)

    code, output, errors = given(as_text(good(one)))
    assert (0, "") == (code, errors)
    assert_set(output, *origin(one, "default", place))
    for text in bad(one):
        code, output, errors = given(text)
        assert (2, "") == (code, output)
        assert place in errors
        assert 1 == errors.count("\n")


def test_a_switch_without_a_default_has_two_flags(said: Said) -> None:
    for flag, value in (("--tracing", "true"), ("--no-tracing", "false")):
        assert f"  tracing.enabled = {value}  (--tracing)" in said(flag)[1]


def test_the_value_of_a_setting_that_can_be_secret_is_not_shown(said: Said) -> None:
    assert "  upstreams.default.url = ...  (--upstream)" in said("--upstream", URL)[1]


def test_the_default_upstream_is_not_listed(said: Said, tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.touch()
    for arguments in ((), ("--config", str(path))):
        assert "set:" not in said(*arguments)[1]
    assert said("--workers=3")[1].endswith("\n\nset:\n  workers = 3  (--workers)\n")


def test_the_default_key_is_not_listed(said: Said, monkeypatch: Patch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    output = said("--upstream", URL)[1]
    assert "a key from OPENAI_API_KEY" in output
    assert output.endswith("\n\nset:\n  upstreams.default.url = ...  (--upstream)\n")


def test_the_builtin_upstream_is_shown(said: Said) -> None:
    assert '  upstreams.default.url = "builtin"  (--upstream)' in said("--upstream=builtin")[1]
