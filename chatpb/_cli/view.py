"""How `inspect` shows JSON and log probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from chatpb._mapping.residue import walk
from chatpb._mapping.text import dump
from chatpb.v1 import ChatCompletionTokenLogprob, ChoiceLogprobs, TopLogprob

if TYPE_CHECKING:
    from rich.table import Table

_MAX_STRING: Final = 1000  # characters
_MAX_ITEMS: Final = 50
_CONTROL: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def json_view(value: Any, indent: str = "") -> str:
    """A JSON tree as indented text, with long strings and lists cut short.

    Tokens with log probabilities are left out, for the table.
    """
    below = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{below}{_scalar(name)}: {_member(value[name], below)}" for name in value]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        lines = [below + json_view(item, below) for item in value[:_MAX_ITEMS]]
        if len(value) > _MAX_ITEMS:
            lines.append(f"{below}… {len(value) - _MAX_ITEMS:,} more")
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return _scalar(value)


def _member(value: Any, indent: str) -> str:
    if isinstance(value, list) and value and all(_is_token(item) for item in value):
        return f"[… {len(value):,} tokens]"
    return json_view(value, indent)


def _is_token(value: Any) -> bool:
    return isinstance(value, dict) and "token" in value and "logprob" in value


def _scalar(value: Any) -> str:
    cut = isinstance(value, str) and len(value) > _MAX_STRING
    text = _safe(dump(value[:_MAX_STRING] if cut else value))
    return f'{text[:-1]}… {len(value) - _MAX_STRING:,} more characters"' if cut else text


def _safe(text: str) -> str:
    """A text without characters that control the terminal."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def token_tables(message: Message, tokens: int, top: int) -> Iterator[Table]:
    """A table for each list of tokens in a message.

    Args:
        message: The message.
        tokens: The most tokens of a table.
        top: The most alternatives of a token.
    """
    for path, part in walk(message):
        if isinstance(part, ChoiceLogprobs):
            for name, entries in (("content", part.content), ("refusal", part.refusal)):
                if entries:
                    yield _table(f"{path}.{name}", entries, tokens, top)


def _table(
    title: str, entries: Sequence[ChatCompletionTokenLogprob], tokens: int, top: int
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    hidden = len(entries) - tokens
    caption = f"{hidden:,} more tokens; see --tokens" if hidden > 0 else None
    table = Table(
        title=Text(title, "bold"), caption=caption, box=box.SIMPLE_HEAD, title_justify="left",
        caption_justify="left",
    )  # fmt: skip
    for heading, justify in (("#", "right"), ("token", "left"), ("logprob", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("prob", justify="right", no_wrap=True)
    if top > 0:
        table.add_column("alternatives", overflow="fold")
    for number, entry in enumerate(entries[:tokens]):
        cells = [str(number), _token(entry), f"{entry.logprob:.4f}", _percent(entry.logprob)]
        if top > 0:
            others = [other for other in entry.top_logprobs if other.token != entry.token]
            cells.append("  ".join(f"{_token(x)} {_percent(x.logprob)}" for x in others[:top]))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _token(entry: ChatCompletionTokenLogprob | TopLogprob) -> str:
    """The text of a token, and its bytes if they are not those of the text."""
    text = _safe(dump(entry.token))
    return f"{text} {entry.bytes!r}" if entry.HasField("bytes") else text


def _percent(logprob: float) -> str:
    """The probability that a logarithm means, as a percentage."""
    return f"{math.exp(min(logprob, 700)):.2%}"
