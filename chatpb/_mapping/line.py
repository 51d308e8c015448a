"""Generated writers of message types that have few fields."""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from chatpb._errors import ConversionError
from chatpb._mapping.schema import FLOATS, NOTHING, MessageType

_FEW: Final = 6  # fields that take no longer to be asked for one by one


def compile_line(mapped: MessageType, scope: dict[str, Any]) -> Callable[..., Any]:
    """Generates the writer of messages with few fields and no residue, such as tokens.

    Each field has a line or two. Such messages come by the thousand, and plans take a third longer.

    Args:
        mapped: The message type.
        scope: The names that the writer uses: `write`, which writes any message, and as ``put_x``
            what writes the value of field ``x``, which may come later.

    Returns:
        It, or `write` if the fields are too many or have rules that are rare.
    """
    assert mapped.residue is not None
    write: Callable[..., Any] = scope["write"]
    lines = [
        "def write_line(message, context):",
        "    has = message.HasField",
        f"    if has({mapped.residue.name!r}): return write(message, context)",
        "    members = {}",
        "    try:",
        "        name = None",
    ]
    for name, field in mapped.fields.items():
        member, value = f"members[{name!r}]", f"message.{name}"
        call = f"name = {name!r}; {member} = put_{name}({value}, context)"
        is_scalar = not (field.is_list or field.message or field.enum or field.encoding)
        is_float = field.descriptor.type in FLOATS
        is_zero = field.zero is not NOTHING and field.unset is field.zero
        if keyword.iskeyword(name) or keyword.iskeyword(field.unset_utf8 or ""):
            return write
        if field.alternative is not None:
            return write
        if field.unset_utf8:
            lines += [
                f"        if has({name!r}): {member} = list({value})",
                f"        else: {member} = list(message.{field.unset_utf8}.encode())",
            ]
        elif field.is_list and field.unset == []:
            lines.append(f"        {call}")
        elif is_scalar and not is_float and field.has_presence and field.unset is NOTHING:
            lines.append(f"        if has({name!r}): {member} = {value}")
        elif is_scalar and not is_float and is_zero:
            lines.append(f"        {member} = {value}")
        elif is_scalar and is_zero:
            lines += [f"        value = {value}", f"        if isfinite(value): {member} = value"]
            lines.append(f"        else: {call}")
        else:
            return write
    if len(mapped.fields) > _FEW:
        return write
    lines += [
        "    except ConversionError as error:",
        "        raise error.below(name) from None",
        "    return members",
    ]
    scope |= {"ConversionError": ConversionError, "isfinite": isfinite}
    source, name = "\n".join(lines) + "\n", f"<writer of {mapped.descriptor.full_name}>"
    # So that tracebacks show its lines. Without a time, checkcache() keeps it.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)
    line: Callable[..., Any] = scope["write_line"]
    return line
