"""The command ``compact``, which writes tables; the compact chunks of streams are unrelated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from chatpb._cli.adding import How, added
from chatpb._cli.failure import USAGE_ERROR, CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.options import input_options, keys_option, level_option, storage_option
from chatpb._cli.reading.collect import files
from chatpb._cli.reading.input import STDIN, Reading, nothing_in
from chatpb._cli.reading.stores import is_store
from chatpb._cli.rounds import Unchanged, rounds, until_signal
from chatpb._pairs import key_and_value

_SMALL_FILES: Final = 64  # of a table; more are merged


def _labels(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in texts:
        try:
            key, value = key_and_value(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        labels[key] = value
    return labels


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_labels,
    help="A label for each record that is added. Can be given several times.",
)
@level_option
@click.option(
    "--max-file-size",
    "file_mib",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="The size of the records in one file, in binary form before compression, about.",
)
@click.option(
    "--skip-damage",
    is_flag=True,
    help="Leave out what cannot be read, report it on standard error, and go on.",
)
@click.option(
    "--skip-unknown",
    is_flag=True,
    help="Leave out JSON of an unknown shape, report how much, and go on.",
)
@click.option(
    "--partition-by",
    type=click.Choice(["day", "month", "model", "caller"]),
    help="Which records share a file. A table keeps what it was created with.",
)
@click.option(
    "--optimize-after",
    "small_files",
    type=click.IntRange(min=0),
    default=_SMALL_FILES,
    show_default=True,
    metavar="COUNT",
    help="Put small files of the table into one if there are more than COUNT. 0: never.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Go on adding what comes, until SIGTERM or SIGINT.",
)
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(min=0.01),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="With --follow: how often to add.",
)
@keys_option
@input_options
@storage_option
def command(
    inputs: tuple[str, ...],
    dataset: str,
    labels: dict[str, str],
    level: int,
    file_mib: int,
    partition_by: str | None,
    skip_damage: bool,
    skip_unknown: bool,
    small_files: int,
    follow: bool,
    seconds: float,
    keys: LogKeys | None,
    reading: Reading,
) -> None:
    """Add logs and recorded JSON to a table.

    Reads logs (.chatpb.zst); and responses, pages of stored completions, chunks, requests and
    errors as JSON, JSON lines or server-sent events. In a directory, reads all files below it that
    end in .chatpb.zst, .json, .jsonl, .ndjson or .sse; all but the first also with .gz or .zst
    after that. Each exchange becomes a row: a stream is one row with all its chunks, and an answer
    x.json or x.sse is joined with its request x.request.json. In JSON lines, chunks with the same
    id are one stream.

    An object may also hold a request and its response: what `chatpb cat --what record` prints,
    request and response, messages and response, and the lines of OpenAI's batch files. Their other
    members become labels; next to messages, they are members of the request. JSON of any other
    shape is an error, unless --skip-unknown is given.

    A table of chatpb, a directory or a URI, is input too: all its records, and later those of the
    files that were added to it since. So is a Parquet file of one. The lines of a batch's output
    file are joined with those of its input file, by custom_id, if both are among the inputs.

    So is a database of stored completions, sqlite:///PATH or postgresql://HOST/DATABASE: each run
    adds those that were stored since the last one. What was added stays in the table as it was: a
    completion that is changed or deleted in the database later is not followed.

    DATASET is a Delta Lake table: a directory, or a URI such as s3://bucket/table. It is created if
    it does not exist.

    \b
      chatpb compact /var/log/chatpb table
      chatpb compact --label run=eval-7 responses.jsonl table
      chatpb compact sqlite:////var/lib/chatpb/stored.db table
      chatpb compact --partition-by day /var/log/chatpb s3://bucket/table

    Adds everything or nothing: if the command fails or is interrupted, the table stays as it was.
    Nothing is added twice: input that was added before is recognised, even if it was moved, and the
    same command adds only what logs and files of JSON lines have grown by. Several processes may
    add to a table at the same time.

    With --follow, adds what is new every minute, in one commit, such as next to a relay that writes
    logs. It reads a long log in pieces, of which each is committed. On SIGTERM or SIGINT, it reads
    for at most 5 seconds more, commits what it has read and exits with 0; a second signal ends it
    at once. After that, as after a crash, the same command goes on where it was. A failure is
    reported and tried again; three in a row end the command.

    Exit code 1 or 2 if there is nothing to read; 0 if all of it is in the table already.

    Prints the number of records added, the size of their JSON, the size of the files that contain
    them, and the ratio.
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb._cli.stored.tables import is_table  # few commands need pyarrow

    how = How(
        labels,
        level,
        file_mib << 20,
        partition_by,
        skip_damage,
        skip_unknown,
        keys,
        reading,
        small_files,
    )
    if not follow:
        added(_files(inputs), dataset, how)
        return
    if STDIN in inputs:
        raise CliError("standard input cannot be followed", USAGE_ERROR)
    if tables := [name for name in inputs if not is_store(name) and is_table(name)]:
        raise CliError(f"{tables[0]}: a table cannot be followed", USAGE_ERROR)
    unchanged = Unchanged()

    def add(due: Callable[[], bool]) -> bool:
        names = unchanged.without(_files(inputs, is_empty_right=True))
        if not names:
            return False
        is_cut = added(names, dataset, how, due)
        if not is_cut:
            unchanged.were_read()
        return is_cut

    with until_signal() as stop:
        rounds(add, stop, seconds)


def _files(inputs: tuple[str, ...], *, is_empty_right: bool = False) -> list[str]:
    """The files and tables to read; at least one, unless none is right too."""
    from chatpb._cli.stored.tables import is_table

    names: list[str] = []
    for name in inputs:
        is_one = is_store(name) or (name != STDIN and is_table(name))
        names += [name] if is_one else files([name])
    if not names and not is_empty_right:
        raise CliError(nothing_in(inputs), USAGE_ERROR)
    return names
