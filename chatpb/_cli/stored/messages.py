"""Messages of a chat in the one form that all rows for training have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from chatpb._cli.stored.conversation import UnfitError

_FUNCTION: Final = {"name": str, "arguments": str}
_CUSTOM: Final = {"name": str, "input": str}
_CALLS: Final = [{"id": str, "type": str, "function": _FUNCTION, "custom": _CUSTOM}]
#: The members of a message that rows have, and of what is in it.
MESSAGE: Final = {
    "role": str,
    "content": str,
    "reasoning_content": str,
    "refusal": str,
    "name": str,
    "tool_calls": _CALLS,
    "tool_call_id": str,
    "function_call": _FUNCTION,
}
_UNUSUAL: Final = "with messages of an unusual form"
_NO_TEXT: Final = "with content that is not text"


def converted(message: Any) -> Any:
    """A message with the members of `MESSAGE`.

    Raises:
        UnfitError: It has other content than text.
    """
    if not isinstance(message, dict):
        raise UnfitError(_UNUSUAL)
    content = message.get("content")
    if isinstance(content, list):
        parts = [part if isinstance(part, dict) else {} for part in content]
        texts = [part.get("text") for part in parts if part.get("type") == "text"]
        refusals = [part.get("refusal") for part in parts if part.get("type") == "refusal"]
        if len(texts) + len(refusals) < len(parts):
            raise UnfitError(_NO_TEXT)
        message = {**message, "content": _joined(texts)}
        if refusals:
            message["refusal"] = _joined(refusals)
    elif message.get("audio") is not None:
        raise UnfitError(_NO_TEXT)
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return fitting({**message, "reasoning_content": reasoning}, MESSAGE)


def _joined(texts: list[Any]) -> Any:
    """The texts of parts as one; None if there is none."""
    return "".join(fitting(text, str) or "" for text in texts) if texts else None


def fitting(value: Any, kind: Any) -> Any:
    """The value of a type as in `MESSAGE`, without members that it does not have.

    Raises:
        UnfitError: It is of another type.
    """
    if value is None:
        return None
    if isinstance(kind, dict) and isinstance(value, dict):
        return {name: fitting(value.get(name), below) for name, below in kind.items()}
    if isinstance(kind, list) and isinstance(value, list):
        return [fitting(each, kind[0]) for each in value] or None
    if kind is not type(value):  # numbers of JSON are of a subclass of str
        raise UnfitError(_UNUSUAL)
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError:
        raise UnfitError("with text that is not Unicode") from None
    return value


def arrow_type(kind: Any) -> pa.DataType:
    """Arrow's type for one as in `MESSAGE`."""
    if isinstance(kind, dict):
        return pa.struct([(name, arrow_type(below)) for name, below in kind.items()])
    return pa.list_(arrow_type(kind[0])) if isinstance(kind, list) else pa.string()


def with_values(values: pa.Array, path: str) -> Iterator[str]:
    """The paths of columns and members that have a value somewhere."""
    if values.null_count == len(values):
        return
    yield path
    if pa.types.is_list(values.type):
        yield from with_values(values.flatten(), path)
    elif pa.types.is_struct(values.type):
        for field, below in zip(values.type, values.flatten(), strict=True):
            yield from with_values(below, f"{path}.{field.name}")


def kept(kind: pa.DataType, path: str, seen: set[str]) -> pa.DataType:
    """A type without the members that have no value anywhere."""
    if pa.types.is_list(kind):
        return pa.list_(kept(kind.value_type, path, seen))
    if not pa.types.is_struct(kind):
        return kind
    paths = {field.name: f"{path}.{field.name}" for field in kind}
    fields = [field for field in kind if paths[field.name] in seen]
    return pa.struct(
        [field.with_type(kept(field.type, paths[field.name], seen)) for field in fields]
    )
