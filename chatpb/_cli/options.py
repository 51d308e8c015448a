"""The options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click

from chatpb._cli.log_keys import LogKeys
from chatpb._cli.reading.input import Reading
from chatpb._cli.reading.kinds import kind_named
from chatpb._cli.reading.sniff import Format
from chatpb._pairs import key_and_value

_MAX_MIB: Final = 2047  # no message may be longer
_TYPES: Final = "completion, chunk, request, error, or a message's name such as ChatCompletionList"


def _mebibytes(text: str) -> int:
    """The bytes of a number of MiB."""
    try:
        size = float(text)
    except ValueError:
        size = 0
    if not 0 < size <= _MAX_MIB:
        raise click.BadParameter(f"{text} is not a number of MiB up to {_MAX_MIB}")
    return int(size * (1 << 20))


nan_option = click.option(
    "--allow-nan", is_flag=True, help="Keep NaN and infinities, which are not JSON."
)


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options for its input, as the argument ``reading``."""

    @functools.wraps(command)
    def with_reading(
        *,
        form: Format | None,
        limit: int,
        allow_nan: bool,
        delimited_input: bool = False,
        **others: Any,
    ) -> None:
        if delimited_input and form not in (None, Format.DELIMITED):
            raise click.UsageError(f"--delimited and --format {form} exclude each other")
        form = Format.DELIMITED if delimited_input else form
        command(reading=Reading(form, limit, allow_nan), **others)

    for option in (
        nan_option,
        click.option(
            "--max-size",
            "limit",
            type=_mebibytes,
            metavar="MIB",
            default="256",
            show_default=True,
            help="The largest size of one message, line or event.",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(list(Format), case_sensitive=False),
            help="The format of the input. Default: found by the file's ending and content.",
        ),
    ):
        with_reading = option(with_reading)
    return with_reading


kind_option = click.option(
    "--type",
    "kind",
    type=kind_named,
    metavar="TYPE",
    help=f"The type of the messages: {_TYPES}."
    " Default: JSON is recognised, binary is a completion.",
)
output_option = click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    help="Where to write. Default: standard output.",
)
delimited_option = click.option(
    "-d",
    "--delimited",
    "delimited_input",
    is_flag=True,
    help="The input is length-delimited messages; short for --format delimited.",
)
unknown_option = click.option(
    "--ignore-unknown-fields",
    "ignore_unknown",
    is_flag=True,
    help="Leave out fields that this version of the schema does not know.",
)
keys_option = click.option(
    "--keys",
    metavar="FILE",
    envvar="CHATPB_LOG_KEYS",
    show_envvar=True,
    callback=lambda _, __, name: None if name is None else LogKeys(name),
    help="The keys of logs that are encrypted.",
)
_STORAGE: Final = "chatpb.storage_options"


level_option = click.option(
    "--level",
    type=click.IntRange(1, 22),
    default=3,
    show_default=True,
    help="The level of zstd.",
)


def _keep_storage(context: click.Context, _: click.Parameter, texts: tuple[str, ...]) -> None:
    options = {}
    for text in texts:
        try:
            key, value = key_and_value(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        options[key] = value
    context.meta[_STORAGE] = options


def storage_options() -> dict[str, str]:
    """What the user of the running command gave by `storage_option`."""
    context = click.get_current_context(silent=True)
    found: dict[str, str] = {} if context is None else context.meta.get(_STORAGE, {})
    return found


storage_option = click.option(
    "--storage-option",
    multiple=True,
    metavar="KEY=VALUE",
    expose_value=False,
    callback=_keep_storage,
    help="What an object store needs, in the names of delta-rs, such as AWS_ENDPOINT_URL=URL."
    " Can be given several times. Default: from the environment.",
)
files_argument = click.argument("files", nargs=-1, metavar="[FILE]...")
