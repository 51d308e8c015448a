"""How a command of the server is run, and how it reports mistakes: in one line."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource


def run_command(
    command: click.Command, arguments: Sequence[str] | None, name: str, prog: str | None = None
) -> int:
    """Runs a command and returns its exit code.

    Args:
        command: The command.
        arguments: The arguments. None: those of the process.
        name: What errors begin with.
        prog: How its help calls it. None: by the name.
    """
    try:
        given = None if arguments is None else list(arguments)
        return command.main(given, prog or name, standalone_mode=False) or 0
    except click.ClickException as error:
        if isinstance(error, click.BadParameter) and error.ctx and error.param:
            source = error.ctx.get_parameter_source(error.param.name or "")
            if source is ParameterSource.ENVIRONMENT:
                error.param_hint = str(error.param.envvar)
        click.echo(f"{name}: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
