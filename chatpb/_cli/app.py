"""The command ``chatpb``: its subcommands, and how it ends."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from chatpb._cli import commands
from chatpb._cli.failure import (
    BROKEN_PIPE,
    DATA_ERROR,
    INTERRUPTED,
    USAGE_ERROR,
    CliError,
    reason,
)
from chatpb._errors import ChatpbError, ConversionError, os_error_text


class _App(click.Group):
    """A group that imports a command when it is needed, and reports a mistake in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of the commands, in the order of the help text."""
        return sorted(commands.SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """A command by its name."""
        if cmd_name not in commands.SUMMARIES:
            return None
        module = f"{commands.__name__}.{cmd_name.replace('-', '_')}"
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands, without importing them."""
        names = self.list_commands(ctx)
        width = formatter.width - 6 - max(map(len, names))
        rows = [
            (name, click.Command(name, help=commands.SUMMARIES[name]).get_short_help_str(width))
            for name in names
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Runs a command and exits."""
        options["standalone_mode"] = False
        try:
            code = super().main(*args, **options)
        except CliError as error:
            code = _report(error.text, error.code)
        except ConversionError as error:
            code = _report(reason(error), DATA_ERROR)
        except ChatpbError as error:
            text = str(error).replace("skip_damage=True", "--skip-damage")
            code = _report(text.replace("keys=FILE", "--keys FILE or CHATPB_LOG_KEYS"), DATA_ERROR)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "chatpb"
            code = _report(f"{error.format_message()} (see {command} --help)", error.exit_code)
        except click.ClickException as error:
            code = _report(error.format_message(), error.exit_code)
        except click.Abort:
            code = INTERRUPTED
        except OSError as error:
            place = error.filename or "output"
            code = _report(f"{place}: {os_error_text(error)}", DATA_ERROR)
        except ImportError as error:
            if "CHATPB_IMPLEMENTATION" not in str(error):
                raise
            code = _report(str(error), USAGE_ERROR)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; it ends quietly if nobody reads its output any more."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        return result


def _report(text: str, code: int) -> int:
    click.echo("chatpb: error: " + text.replace("\n", " "), err=True)
    return code


@click.group(
    cls=_App,
    no_args_is_help=False,  # it would be printed as an error
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="chatpb", message="%(prog)s %(version)s")
def app() -> None:
    """Convert, check and call OpenAI chat completions in Protobuf.

    \b
      chatpb to-binary response.json -o response.binpb    JSON to Protobuf
      chatpb to-json response.binpb                       and back
      chatpb fold stream.sse                              a stream to one completion
      chatpb roundtrip recordings/                        does everything come back equal?
      chatpb inspect response.json                        read a message, with its token table
      chatpb call localhost:50051 < request.json          call a relay
    \b
      chatpb compact logs/ responses.jsonl table          logs and JSON into a table of Parquet
      chatpb ls table                                     its files
      chatpb verify table                                 are its files there and whole?
      chatpb rekey --keys keys.txt logs/                  encrypted logs get another key
      chatpb cat table                                    what is in it, as JSON
      chatpb grep 'total_tokens > 1000' table             some of that
      chatpb sql table "select prompt, answer from exchanges"
      chatpb stat table                                   what takes the space
      chatpb optimize table                               small files into large ones
      chatpb delete table "caller = 'alice'" --vacuum     for good
      chatpb history table                                its versions; restore goes back to one
      chatpb vacuum table                                 removes what only old versions need
      chatpb export --form fine-tuning table              training examples

    A file may contain JSON, JSON lines, server-sent events, a binary message, or a stream of
    length-delimited messages, and may be compressed with gzip or zstd. The format is found by the
    file's ending and content; --format overrides that. Without a file name, commands read standard
    input.

    Exit codes: 0 success, 1 the data is wrong or differs, 2 the command line is wrong; those of
    failed calls are listed by chatpb call --help.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
