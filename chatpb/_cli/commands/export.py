"""The command ``export``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import click

from chatpb import _endings
from chatpb._cli.failure import DATA_ERROR, USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import keys_option, nan_option, output_option, storage_option
from chatpb._cli.output import STDOUT, Lines, open_output
from chatpb._cli.stored.conversation import Chosen
from chatpb._cli.stored.forms import Form, lines
from chatpb._cli.stored.printing import report_left_out

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored

_BATCH_LINES: Final = 50_000  # the most requests that OpenAI takes in the file of a batch
_BATCH_MIB: Final = 200  # the most that such a file may have
_CONVERSATIONS: Final = (Form.MESSAGES, Form.FINE_TUNING)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--form",
    type=click.Choice([form.value for form in Form]),
    default=Form.RESPONSES.value,
    show_default=True,
    help="What to write.",
)
@click.option("--where", metavar="CONDITION", help="Only these records; see chatpb grep --help.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="For messages: a column of the table that the rows have too. Can be given several times.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY",
    help="For messages: a label that the rows have as a column. Can be given several times.",
)
@click.option(
    "--cut-off",
    is_flag=True,
    help="For messages and fine-tuning: also answers that did not come to their end.",
)
@click.option(
    "--all-choices",
    is_flag=True,
    help="For messages and fine-tuning: every choice of an answer, not only the first.",
)
@click.option(
    "--split",
    "split_mib",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Begin another file after this many MiB, and after 50,000 requests of a batch, the most"
    " that OpenAI takes: -o x.jsonl writes x-00001.jsonl, x-00002.jsonl and so on.",
)
@output_option
@keys_option
@nan_option
@storage_option
def command(
    paths: tuple[str, ...],
    form: str,
    where: str | None,
    columns: tuple[str, ...],
    labels: tuple[str, ...],
    cut_off: bool,
    all_choices: bool,
    split_mib: int | None,
    keys: LogKeys | None,
    output: str,
    allow_nan: bool,
) -> None:
    """Write tables and logs in a form that other programs read.

    \b
      records      what `chatpb cat --what record` prints: every part of each record
      responses    completions, one on each line; streams are put together
      messages     rows with a column `messages`, as Hugging Face datasets and training take them:
                   the messages of the request and the answer, as text; and the tools as JSON text
      fine-tuning  OpenAI's JSON lines for fine-tuning of chat models: the messages of the request
                   and the answer, with the tools
      stored       pages of stored completions as OpenAI's API lists them, one on each line, which
                   `chatpb compact` reads too
      batch        the requests, as a file that OpenAI's Batch API takes, to send them again

    \b
      chatpb export table > responses.jsonl
      chatpb export --form messages --column model --label team table -o train.parquet
      chatpb export --form fine-tuning --where "labels['grade'] = 'good'" table -o train.jsonl
      chatpb export --form stored table | head -1 | jq .data[0]
      chatpb export --form batch --split 190 table -o batch.jsonl

    If the file ends in .parquet, writes Parquet; only messages have this form.

    Records that do not fit the form are left out, and counted on standard error with the reason.
    For messages and fine-tuning, these are errors and answers that were cut off. Exit code 1 if
    nothing is written.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.condition import Condition
    from chatpb._cli.stored.records import records

    kind = Form(form)
    is_parquet = output.endswith(_endings.PARQUET)
    _check(kind, is_parquet, output, columns or labels, cut_off or all_choices, split_mib)
    chosen = Chosen(allow_nan, all_choices, cut_off, with_reasoning=kind is Form.MESSAGES)
    found = _Counted(records(paths, None if where is None else Condition(where), keys=keys))
    if kind is Form.MESSAGES:
        from chatpb._cli.stored.training import Training

        training = Training(chosen, columns, labels)
        if is_parquet:
            with open_output(output, binary=True) as out:
                training.write_parquet(found, out)
        else:
            _write(training.lines(found), output, split_mib, None)
    else:
        limit = _BATCH_LINES if kind is Form.BATCH else None
        _write(lines(found, kind, chosen), output, split_mib, limit)
    report_left_out(chosen.left_out, "answer" if all_choices else "record")
    if kind is Form.BATCH and split_mib is None and chosen.written > _BATCH_LINES:
        click.echo(
            f"chatpb: note: {chosen.written:,} requests; OpenAI takes {_BATCH_LINES:,} and"
            f" {_BATCH_MIB} MB in one file: pass --split 190",
            err=True,
        )
    if not found.count:
        raise CliError("no records in the input")
    if not chosen.written:
        click.get_current_context().exit(DATA_ERROR)


def _check(
    form: Form,
    is_parquet: bool,
    output: str,
    carries: object,
    chooses: bool,
    split_mib: int | None,
) -> None:
    """Refuses options that do not go together."""
    if is_parquet and form is not Form.MESSAGES:
        raise CliError(
            f"{output}: {form} cannot be written as Parquet; expected --form messages", USAGE_ERROR
        )
    if carries and form is not Form.MESSAGES:
        raise CliError("--column and --label are for --form messages", USAGE_ERROR)
    if chooses and form not in _CONVERSATIONS:
        raise CliError(
            "--cut-off and --all-choices are for --form messages and fine-tuning", USAGE_ERROR
        )
    if split_mib is not None and (is_parquet or output == STDOUT):
        raise CliError("--split requires -o FILE, with JSON lines", USAGE_ERROR)


def _write(
    texts: Iterable[bytes], output: str, split_mib: int | None, max_lines: int | None
) -> None:
    with Lines(output, None if split_mib is None else split_mib << 20, max_lines) as out:
        for text in texts:
            out.write(text)
            del text  # it may take most of the memory


class _Counted:
    """Records, and how many there were."""

    def __init__(self, found: Iterable[Stored]) -> None:
        self.count = 0
        self._found = found

    def __iter__(self) -> Iterator[Stored]:
        return map(self._counted, self._found)  # so that only the caller has a record

    def _counted(self, each: Stored) -> Stored:
        self.count += 1
        return each
