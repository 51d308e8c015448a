"""A session of SQL with a table: single statements, and the prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from chatpb._cli.failure import DATA_ERROR, USAGE_ERROR, CliError
from chatpb._cli.output import STDOUT, open_output
from chatpb._cli.stored.files import table_at
from chatpb._cli.stored.results import Form, write_rows
from chatpb.table import QueryError
from chatpb.table._sql import statements as sql
from chatpb.table._sql import views

_PROMPT: Final = "chatpb> "
_MORE: Final = "   ...> "
_ENDINGS: Final = {
    ".csv": Form.CSV,
    ".json": Form.JSON,
    ".jsonl": Form.JSON,
    ".ndjson": Form.JSON,
    ".parquet": Form.PARQUET,
    ".txt": Form.TABLE,
}
_HELP: Final = """\
Statements end with a semicolon. Other commands:
  .views    the views with their columns
  .quit     the end, as Ctrl-D
"""


def statements(table: str) -> str:
    """The SQL that creates the views of a table."""
    return views.statements(table_at(table).files())


class Session:
    """A connection to the views of a table.

    Args:
        table: The table.
        before: The version that the views in the schema ``before`` show, if any.
        temp_directory: Where large queries may write.

    Raises:
        CliError: There is no such table.
    """

    def __init__(self, table: str, before: int | None, temp_directory: str | None) -> None:
        try:
            self._connection = table_at(table).sql(before=before, temp_directory=temp_directory)
        except QueryError as error:
            raise CliError(f"{table}: {error}", DATA_ERROR) from None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def write(self, text: str, output: str, form: str | None) -> None:
        """Runs statements, and writes the rows that they have.

        Args:
            text: The statements.
            output: The file, or ``-`` for standard output.
            form: How the rows are written. Default: by the ending of the file.

        Raises:
            CliError: A statement is wrong, the ending is unknown, or the output cannot be written.
        """
        found = Form(form) if form else _form_of(output)
        results = self._results(text)
        first = next(results, None)  # a statement that is wrong does not empty the output file
        with open_output(output, binary=found is Form.PARQUET) as out:
            try:
                while first is not None:
                    write_rows(first, out, found)
                    first = next(results, None)
                    if first is not None and found is Form.PARQUET:
                        raise CliError(
                            "sql: Parquet can hold the rows of one statement", USAGE_ERROR
                        )
            except QueryError as error:
                raise CliError(f"sql: {error}") from None

    def _results(self, text: str) -> Iterator[sql.Result]:
        try:
            yield from sql.run(self._connection, text)
        except QueryError as error:
            raise CliError(f"sql: {error}", USAGE_ERROR) from None

    def columns(self) -> str:
        """The views, with what they hold and their columns."""
        texts = dict(
            self._connection.execute(
                "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )
        lines = []
        for view in views.VIEWS:
            lines.append(f"{view}: {texts[view]}")
            found = self._connection.execute(f"DESCRIBE {view}").fetchall()
            width = max(len(name) for name, *_ in found)
            lines += [f"  {name.ljust(width)}  {_short(kind)}" for name, kind, *_ in found]
            lines.append("")
        return "\n".join(lines[:-1])

    def prompt(self) -> None:
        """Reads statements from the terminal, and prints their rows, until the end of input."""
        with suppress(ImportError):
            import readline

            readline.parse_and_bind("tab: complete")
            readline.set_completer(self._completer())
        click.echo("Statements end with a semicolon; .help lists other commands.")
        lines: list[str] = []
        while True:
            try:
                line = input(_MORE if lines else _PROMPT)
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                lines.clear()
                continue
            word = line.strip().rstrip(";").lower()
            if not lines and word in (".quit", ".exit", "quit", "exit"):
                return
            if not lines and word in (".views", ".help", "help"):
                click.echo(self.columns() if word == ".views" else _HELP, nl=word == ".views")
                continue
            if not lines and word.startswith("."):
                click.echo(f"sql: unknown command {word}; .help lists them", err=True)
                continue
            if not lines and not line.strip():
                continue
            lines.append(line)
            if sql.is_complete("\n".join(lines)):
                self._answer("\n".join(lines))
                lines.clear()

    def _answer(self, text: str) -> None:
        sys.stdout.flush()
        try:
            self.write(text, STDOUT, Form.TABLE)
        except CliError as error:
            click.echo(error.text, err=True)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)

    def _completer(self) -> Callable[[str, int], str | None]:
        words = set(views.VIEWS)
        for view in views.VIEWS:
            words |= {row[0] for row in self._connection.execute(f"DESCRIBE {view}").fetchall()}

        def complete(text: str, state: int) -> str | None:
            found = sorted(word for word in words if word.startswith(text))
            return found[state] if state < len(found) else None

        return complete


def _form_of(output: str) -> Form:
    """How the rows are written to a file."""
    if output == STDOUT:
        return Form.TABLE
    found = _ENDINGS.get(Path(output).suffix.lower())
    if found is None:
        known = ", ".join(_ENDINGS)
        raise CliError(
            f"{output}: the ending is none of {known}; pass --format {'|'.join(Form)}", USAGE_ERROR
        )
    return found


def _short(kind: str) -> str:
    """A type, without the members of a struct."""
    if not kind.startswith("STRUCT("):
        return kind
    return "STRUCT(...)" + kind[kind.rindex(")") + 1 :]
