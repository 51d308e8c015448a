"""The command ``chatpb`` and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from chatpb._cli.commands.call import call
from chatpb._cli.commands.cat import cat, grep
from chatpb._cli.commands.compact import compact
from chatpb._cli.commands.convert import to_binary, to_json
from chatpb._cli.commands.export import export
from chatpb._cli.commands.fold import fold
from chatpb._cli.commands.inspect import inspect
from chatpb._cli.commands.list import list_files, stat
from chatpb._cli.commands.roundtrip import roundtrip
from chatpb._cli.failure import BROKEN_PIPE, DATA_ERROR, INTERRUPTED, CliError, reason
from chatpb._errors import ChatpbError, ConversionError, os_error_text


class _App(click.Group):
    """A group whose mistakes are told in one line."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Runs a command and exits."""
        options["standalone_mode"] = False
        try:
            code = super().main(*args, **options)
        except CliError as error:
            code = _tell(error.text, error.code)
        except ConversionError as error:
            code = _tell(reason(error), DATA_ERROR)
        except ChatpbError as error:
            code = _tell(str(error).replace("skip_damage=True", "--skip-damage"), DATA_ERROR)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "chatpb"
            code = _tell(f"{error.format_message()} (see {command} --help)", error.exit_code)
        except click.ClickException as error:
            code = _tell(error.format_message(), error.exit_code)
        except click.Abort:
            code = INTERRUPTED
        except OSError as error:
            text = os_error_text(error)
            code = _tell(f"{error.filename or 'output'}: {text}", DATA_ERROR)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; a reader that went away ends it, quietly."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        return result


def _tell(text: str, code: int) -> int:
    click.echo("chatpb: error: " + text.replace("\n", " "), err=True)
    return code


@click.group(
    cls=_App,
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
      chatpb cat table                                    what is in it, as JSON
      chatpb grep 'total_tokens > 1000' table             some of that
      chatpb stat table                                   what takes the space
      chatpb export --form fine-tuning table              training examples

    A file may be JSON, JSON lines, server-sent events, a message in binary, or a stream of
    length-delimited messages; which, its ending and content tell, or --format. Input is standard
    input where no file is named.

    Exit codes: 0 all is well, 1 the data is wrong or differs, 2 the command line is wrong.
    """  # noqa: D301 (click's mark of lines that keep their breaks)


for command in (
    to_binary,
    to_json,
    fold,
    roundtrip,
    inspect,
    call,
    compact,
    list_files,
    cat,
    grep,
    stat,
    export,
):
    app.add_command(command)
