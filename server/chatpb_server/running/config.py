"""Reads the settings and checks them.

Flags override environment variables, these override the TOML file, and that overrides the defaults.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from chatpb._errors import os_error_text
from chatpb_server.core.setting import PREFIX, Table
from chatpb_server.core.store_rules import anchored
from chatpb_server.running.conflicts import conflicts
from chatpb_server.running.places import Places
from chatpb_server.running.settings import Settings, short_keys
from chatpb_server.upstreams.registry import (
    DEFAULT_URL,
    UpstreamSettingsError,
    UpstreamTable,
    find_kind,
)

#: The only upstream of the short form.
_DEFAULT: Final = ("upstreams", "default")


class ConfigError(Exception):
    """Settings that cannot be used.

    Attributes:
        mistakes: One line each, with the place and what to do about it, and without secrets.
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Given:
    """A setting from a flag or an environment variable.

    Attributes:
        place: The flag, or the variable.
        value: The value.
    """

    place: str
    value: Any


class Loaded(NamedTuple):
    """Settings that have been read.

    Attributes:
        settings: The settings.
        places: Where they come from.
    """

    settings: Settings
    places: Places


def load(
    given: Mapping[str, Given], path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Reads the settings, as `load_all` does, and returns them alone."""
    return load_all(given, path, environ).settings


def load_all(
    given: Mapping[str, Given], path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Reads the settings.

    Args:
        given: The settings from flags and variables, by their key in a file, such as
            ``limits.max_running``.
        path: The TOML file. Paths in it are relative to its folder.
        environ: The environment, for the key of an upstream that is given by its URL alone.

    Raises:
        ConfigError: There are mistakes.
    """
    data = {} if path is None else _read(path)
    places = Places(path)
    if "upstream" in given:  # replaces all upstreams of the file
        for name in ("upstreams", *short_keys()):
            data.pop(name, None)
    for name, setting in given.items():
        places.add(tuple(name.split(".")), setting.place)
        *tables, key = name.split(".")
        table: Any = data
        for part in tables:
            table = table.setdefault(part, {})
        if isinstance(table, dict):  # otherwise the validation reports that it is not a table
            table[key] = setting.value
    mistakes = list(_expand(data, places, environ or {}))
    try:
        settings = Settings.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
        mistakes += [f"{places.find(item['loc'])}: {_text(item, data)}" for item in details]
        raise ConfigError(*mistakes) from None
    mistakes += conflicts(settings, places)
    if mistakes:
        raise ConfigError(*mistakes)
    return Loaded(settings, places)


def check_variables(environ: Mapping[str, str], known: list[str]) -> None:
    """Checks that no environment variable looks like a misspelt setting.

    Other variables with the prefix are ignored: Kubernetes sets some for a service of that name.

    Raises:
        ConfigError: One does.
    """
    mistakes = []
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            bare = [variable.removeprefix(PREFIX) for variable in known]
            if close := get_close_matches(name.removeprefix(PREFIX), bare, 1, 0.85):
                mistakes.append(f"{name}: unknown variable; did you mean {PREFIX}{close[0]}?")
    if mistakes:
        raise ConfigError(*mistakes)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        reason = os_error_text(error)
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\((at [^()]*)\)$", str(error))
        where = found[1] if found else "somewhere"
        raise ConfigError(f"{path}: not TOML, {where}; strings need quotes") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    _anchor(data, Settings, path.parent)
    if isinstance(store := data.get("store"), dict) and isinstance(store.get("url"), str):
        store["url"] = anchored(store["url"], path.parent)
    if isinstance(upstreams := data.get("upstreams"), dict):
        for table in upstreams.values():
            _anchor_upstream(table, path.parent)
    short = {key: data[name] for name, key in short_keys().items() if name in data}
    _anchor_upstream(short, path.parent)
    data.update({name: short[key] for name, key in short_keys().items() if key in short})
    return data


def _anchor(data: dict[str, Any], table: type[Table], folder: Path) -> None:
    """Makes the paths of a table, and of the tables in it, relative to a folder."""
    for name, field in table.model_fields.items():
        kind: Any = field.annotation
        value = data.get(name)
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Table):
            _anchor(value, kind, folder)
        elif isinstance(value, str) and Path in (kind, *get_args(kind)):
            data[name] = str(folder / value)


def _anchor_upstream(table: object, folder: Path) -> None:
    if isinstance(table, dict) and (kind := _kind_of(table)):
        table["url"] = kind.anchored(table["url"], folder)
        _anchor(table, kind, folder)


def _kind_of(table: Mapping[str, Any]) -> type[UpstreamTable] | None:
    """The kind of an upstream; None if its URL is missing or wrong."""
    url = table.get("url")
    return find_kind(url) if isinstance(url, str) else None


def _expand(data: dict[str, Any], places: Places, environ: Mapping[str, str]) -> Iterator[str]:
    """Replaces the short form of one upstream by a table; yields the mistakes in it."""
    short = {name: data.pop(name) for name in short_keys() if name in data}
    if "upstreams" in data:
        for name in short:
            yield f"{places.find((name,))}: belongs to one upstream; there are [upstreams.NAME]"
        return
    for name in short:
        places.add((*_DEFAULT, short_keys()[name]), places.find((name,)))
    if "upstream" in short:
        places.add(_DEFAULT, places.find(("upstream",)))
    given = {short_keys()[name]: value for name, value in short.items()}
    table = {"url": DEFAULT_URL, **given}
    data["upstreams"] = {_DEFAULT[1]: table}
    if kind := _kind_of(table):
        try:
            kind.complete(table, environ)
        except UpstreamSettingsError as error:
            yield f"{places.find((*_DEFAULT, 'url'))}: {error}"
    for key in table.keys() - given.keys():
        places.add_default((*_DEFAULT, key))


def _text(error: ErrorDetails, data: Mapping[str, Any]) -> str:
    """What a mistake is, without the value, which may be secret."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"], data)
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "model_type":
        return "expected a table"
    text = error["msg"].replace("Input should", "expected to").replace(" to be ", " ")
    text = text.replace("expected greater", "expected a number greater")
    text = text.replace("expected less", "expected a number less")
    return text[:1].lower() + text[1:]


def _unknown(key: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    table: Any = Settings
    if len(key) == 3:
        table = _kind_of(data["upstreams"][key[1]])
    elif len(key) == 2:
        table = Settings.model_fields[str(key[0])].annotation
    known = [*table.model_fields, *(short_keys() if table is Settings else ())]
    if close := get_close_matches(str(key[-1]), known, 1):
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known are {', '.join(known)}"
