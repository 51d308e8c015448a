"""The flags of the settings: from declarations to options of click, and back to values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic_core import PydanticUndefined

from chatpb_server.core.setting import PREFIX, Declaration
from chatpb_server.running import NAME
from chatpb_server.running.config import Given
from chatpb_server.running.settings import all_settings
from chatpb_server.upstreams.registry import UpstreamTable, kinds

_CONFIG: Final = "Configuration"


class Flag(click.Option):
    """A flag in a group of ``--help``.

    Args:
        declarations: Its names.
        group: The heading.
        attributes: As those of a `click.Option`.
    """

    def __init__(self, declarations: Sequence[str], *, group: str, **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.group = group


class GroupedCommand(click.Group):
    """A command whose ``--help`` shows the flags under headings, and its own name in examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        written = self.epilog
        self.epilog = (written or "").replace(NAME, ctx.command_path)
        super().format_epilog(ctx, formatter)
        self.epilog = written

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the flags, and then the commands."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                group = parameter.group if isinstance(parameter, Flag) else _CONFIG
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
            if group == UpstreamTable.title:
                with formatter.section("What UPSTREAM can be"):
                    formatter.write_dl([(kind.form, kind.about) for kind in kinds()])
        self.format_commands(ctx, formatter)


def options() -> list[click.Parameter]:
    """The flag of each setting that has one, and ``--config`` and ``--check-config``."""
    return [
        *(_option(declaration) for declaration in all_settings() if declaration.setting.flag),
        Flag(
            ["--config"],
            group=_CONFIG,
            envvar=f"{PREFIX}CONFIG",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="A TOML file with settings. Flags and environment variables override it.",
        ),
        Flag(
            ["--check-config"],
            group=_CONFIG,
            is_flag=True,
            help="Read all settings and the files that they name, print a summary, and exit.",
        ),
    ]


def given(context: click.Context, parameters: dict[str, Any]) -> dict[str, Given]:
    """The settings from flags and variables, by their key in a file."""
    found = {}
    for declaration in all_settings():
        name = _parameter(declaration)
        source = context.get_parameter_source(name) if name in parameters else None
        if source is ParameterSource.COMMANDLINE:
            place = declaration.setting.flag
        elif source is ParameterSource.ENVIRONMENT:
            place = declaration.setting.variable
        else:
            continue
        value = parameters[name]
        is_short = declaration.key[0] == "upstreams"
        key = name if is_short else declaration.name
        found[key] = Given(place, str(value) if isinstance(value, Path) else value)
    return found


def bare_type(declaration: Declaration) -> Any:
    """The type of a setting, without None."""
    kind = declaration.field.annotation
    options = [one for one in get_args(kind) if one is not NoneType]
    kind = options[0] if NoneType in get_args(kind) else kind
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def default_text(declaration: Declaration) -> str:
    """The default of a setting, as users read it; empty if there is none."""
    default = declaration.setting.default or declaration.field.default
    if default in (None, PydanticUndefined) or isinstance(default, bool):
        return ""
    if isinstance(default, frozenset):
        default = tuple(sorted(default))
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _parameter(declaration: Declaration) -> str:
    return declaration.setting.flag.removeprefix("--").replace("-", "_")


def _option(declaration: Declaration) -> click.Parameter:
    setting = declaration.setting
    kind = bare_type(declaration)
    default = default_text(declaration)
    attributes: dict[str, Any] = {}
    flag = setting.flag
    if kind is bool:
        attributes["is_flag"] = True
        if declaration.field.default is None:  # both ways differ from the default
            flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif get_origin(kind) is Literal:
        attributes["type"] = click.Choice(get_args(kind))
    elif get_origin(kind) is tuple:
        attributes.update(multiple=True, metavar=setting.value)
    elif get_origin(kind) is dict:
        attributes.update(multiple=True, callback=_pairs, metavar="KEY=VALUE")
    elif kind is Path:
        attributes.update(type=click.Path(path_type=Path), metavar=setting.value or "PATH")
    else:
        attributes.update(type=kind, metavar=setting.value or setting.unit.upper() or None)
    return Flag(
        [flag, _parameter(declaration)],
        group=setting.group or declaration.table.title,
        envvar=setting.variable,
        default=None,
        help=setting.help + (f"  [default: {default}]" if default else ""),
        **attributes,
    )


def _pairs(
    _context: click.Context, _parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    """Keys and values, from texts ``KEY=VALUE``."""
    pairs = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"expected KEY=VALUE, not {text!r}")
        if key in pairs:
            raise click.BadParameter(f"{key} has two values")
        pairs[key] = value
    return pairs
