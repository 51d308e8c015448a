"""Writes docs/settings.md from the declarations of the settings; see ``make settings``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le

from chatpb_server.core.setting import Declaration
from chatpb_server.running.flags import bare_type, default_text
from chatpb_server.running.reload import RENEWED
from chatpb_server.running.settings import all_settings, short_keys
from chatpb_server.upstreams.registry import UpstreamTable, kinds

_HEAD = """\
# Settings of chatpb-server

`make settings` writes this page from the declarations in the code.

A setting comes from a flag, an environment variable, or a TOML file, which `--config` or the
variable `CHATPB_SERVER_CONFIG` names. Flags override variables, and these override the file. Every
setting has a key in the file; those that are needed most often have a flag and a variable too.
`chatpb-server --check-config` checks everything without serving, and shows where each setting
comes from.

Paths in a file are relative to its folder, other paths to the working directory. No setting is a
secret: settings name the environment variables or files that contain secrets.

On SIGHUP, a relay reads its configuration file, and all files that settings name, again. These
settings change without a restart: {renewed}. Others that differ are named in the log.
"""

_TYPES: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "path",
    dict[str, str]: "table of strings",
    tuple[str, ...]: "list of strings",
}


def reference() -> str:
    """The text of docs/settings.md."""
    names = ", ".join(f"`{name}`" for name in RENEWED)
    head = _HEAD.replace("{renewed}", names)
    return "\n".join([head, *_sections()]).rstrip("\n") + "\n"


def _sections() -> Iterator[str]:
    sections: dict[str, list[Declaration]] = {}
    for declaration in all_settings():
        sections.setdefault(_section(declaration), []).append(declaration)
    for name, settings in sections.items():
        yield f"## {name}\n"
        if settings[0].table is UpstreamTable:
            yield from _upstreams()
        if settings[0].table.guide:
            yield settings[0].table.guide
        yield "| key | flag and variable | value | default | meaning |\n|---|---|---|---|---|"
        yield from map(_row, settings)
        yield ""


def _section(declaration: Declaration) -> str:
    table, *rest = declaration.key
    if issubclass(declaration.table, UpstreamTable):
        return f"`[upstreams.NAME]`, {declaration.table.owners}"
    return f"`[{table}]`" if rest else "At the top of the file"


def _upstreams() -> Iterator[str]:
    *names, last = (f"`{name}`" for name in short_keys())
    yield (
        "What answers the requests: one table with a name for each upstream. If there is only one,"
        f"\n{', '.join(names)} and {last} at the top of the file can replace its table.\n"
    )
    yield "| `url` | what answers |\n|---|---|"
    yield from (f"| `{kind.form}` | {kind.about} |" for kind in kinds())
    yield ""


def _row(declaration: Declaration) -> str:
    setting = declaration.setting
    names = f"`{setting.flag}`<br>`{setting.variable}`" if setting.flag else ""
    default = default_text(declaration) or ("false" if declaration.field.default is False else "")
    if default != setting.default:
        default = f"`{default}`"
    if declaration.field.is_required():
        default = f"`{default}`; required in a table `[upstreams.NAME]`"
    cells = (f"`{declaration.key[-1]}`", names, _value(declaration), default, setting.help)
    return f"| {' | '.join(cells)} |"


def _value(declaration: Declaration) -> str:
    """The type of a setting, its unit and its bounds, as users read them."""
    kind = bare_type(declaration)
    setting = declaration.setting
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if setting.value:
        return f"`{setting.value}`"
    parts = [_TYPES.get(kind) or _list_text(kind)]
    if setting.unit:
        parts[0] += f" ({setting.unit})"
    for note in declaration.field.metadata:
        if isinstance(note, Ge):
            parts.append(f"at least {note.ge}")
        if isinstance(note, Gt):
            parts.append(f"more than {note.gt}")
        if isinstance(note, Le):
            parts.append(f"at most {note.le}")
    return ", ".join(parts)


def _list_text(kind: Any) -> str:
    item = get_args(kind)[0]
    item = get_args(item)[0] if get_args(item) else item
    return f"list of {_TYPES.get(item, 'table')}s"


if __name__ == "__main__":
    sys.stdout.write(reference())
