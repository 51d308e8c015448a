"""A stream of chunks to the completion that it makes.

Chunks are joined as JSON trees, member by member, by the rules that the schema gives for each field
and for members that it does not know. docs/mapping.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from chatpb._errors import ConversionError, iterator_of
from chatpb._mapping.arguments import check_message
from chatpb._mapping.reference import from_tree, to_tree
from chatpb._mapping.schema import Field, MessageType
from chatpb._mapping.writer import Context
from chatpb._stream.elements import KeyedElements, UnknownElements
from chatpb._stream.pieces import Name, Text, begins
from chatpb._stream.rules import (
    APPEND,
    APPEND_ARRAYS,
    BY_KEY,
    CHUNK,
    COMPLETION,
    COMPLETION_TEXT,
    DROP,
    FIRST,
    KIND,
    NAME,
    REPLACE,
    WHOLE,
    UnknownRules,
    fold_rule,
    folded_name,
    is_empty,
    parse_free,
    text_part,
    unknown_rules,
)
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion

_MISSING = object()
_Tree = dict[str, Any]


def fold(
    chunks: Iterable[ChatCompletionChunk], *, ignore_unknown_fields: bool = False
) -> ChatCompletion:
    """Assembles the chunks of one stream into the completion that they make.

    Content, refusal, reasoning, arguments, audio and log probabilities are appended; choices are
    told apart by their index, tool calls by their index or, without one, by their id. The first id,
    creation time and model that are not empty win. A later chunk where a member is null or missing
    does not erase it. The completion has just the members that the chunks had, including those
    that the schema does not know.

    The law: ``fold(unfold(c)) == c``.

    Args:
        chunks: The chunks, in the order in which they came.
        ignore_unknown_fields: As for `to_json`.

    Raises:
        ConversionError: There is no chunk, or a chunk cannot be read (see `to_json`).
        TypeError: One is not a chunk.
        TypeError: The argument is not iterable, or an item is not a message.
    """
    folded: dict[Any, Any] = {}
    whole: _Tree | None = None
    count = 0
    for chunk in iterator_of(chunks, "an iterable of chunks"):
        check_message(chunk, ChatCompletionChunk)
        tree = to_tree(chunk, Context(parse_free, allow_nan=True), ignore_unknown_fields)
        if COMPLETION_TEXT in tree:
            whole = _whole_completion(tree[COMPLETION_TEXT]) or whole
        _join_members(folded, tree, CHUNK)
        count += 1
    if not count:
        raise ConversionError("expected at least one chunk, got none")
    return from_tree(_finish(folded) if whole is None else whole, ChatCompletion)


def _whole_completion(text: Any) -> _Tree | None:
    """The completion that a chunk holds as JSON text, as `unfold` writes it."""
    if type(text) is not str:
        return None
    try:
        whole = parse_free(text)
    except ConversionError:
        return None
    return whole if type(whole) is dict else None


class _Whole(NamedTuple):
    """The key of a member that some servers send next to the pieces of it.

    The value has the members that were sent, each as it was last sent and not empty.
    """

    name: str


def _join_members(
    joined: dict[Any, Any],
    members: _Tree,
    mapped: MessageType | None,
    unknown: UnknownRules | None = None,
) -> None:
    """Joins the members of an object into `joined`."""
    fields = mapped.fields if mapped is not None else {}
    if unknown is None:
        assert mapped is not None
        unknown = unknown_rules(mapped)
    for name, value in members.items():
        field = fields.get(name)
        if field is None:
            old = joined.get(name, _MISSING)
            joined[name] = _join(old, value, unknown.of(name), None, unknown)
            continue
        rule = fold_rule(field)
        if rule == DROP:
            continue
        if rule == WHOLE:
            _join_whole(joined, name, value)
            continue
        if rule == KIND:
            rule = REPLACE
            if value == field.unset:
                value = COMPLETION.fields[name].unset
        into = folded_name(field)
        joined[into] = _join(joined.get(into, _MISSING), value, rule, field, unknown)


def _join(old: Any, new: Any, rule: int, field: Field | None, unknown: UnknownRules) -> Any:
    """Joins two values of a member; `_finish` makes a JSON value of the result.

    Args:
        old: The earlier value, as this function returned it, or `_MISSING`.
        new: The later value.
        rule: The rule of the member.
        field: The field of the member, if the schema knows it.
        unknown: The rules for members that the schema does not know, in the message around it.
    """
    if rule == BY_KEY and type(new) in (dict, list) and field and field.message:
        keyed = old if isinstance(old, KeyedElements) else KeyedElements(field.message)
        _join_keyed(keyed, [new] if type(new) is dict else new)
        return keyed
    if isinstance(old, KeyedElements):
        return old
    if type(new) is dict:
        return _join_object(old, new, rule, field, unknown)
    if rule == APPEND and type(new) is str:
        return _append_text(old, new, field)
    if rule in (APPEND, APPEND_ARRAYS) and type(new) is list:
        return _append_array(old, new, field, unknown)
    if rule == NAME and type(new) is str:
        if not isinstance(old, Name):
            return Name(new)
        old.add(new)
        return old
    if old is _MISSING or old is None:
        return new
    return old if is_empty(new) or (rule == FIRST and not is_empty(old)) else new


def _join_object(
    old: Any, new: _Tree, rule: int, field: Field | None, unknown: UnknownRules
) -> dict[Any, Any]:
    if type(old) is not dict:
        old = {}
    if field is None:
        _join_members(old, new, None, unknown)
    elif field.message is not None:
        _join_members(old, new, field.message)
    else:
        _join_members(old, new, None, replace(unknown, rule=rule))
    joined: dict[Any, Any] = old
    return joined


def _join_keyed(keyed: KeyedElements, values: list[Any]) -> None:
    keyed.begin_array()
    for position, value in enumerate(values):
        if type(value) is dict:
            _join_members(keyed.place(value, position, len(values)), value, keyed.mapped)
        else:
            keyed.add(value)


def _append_array(old: Any, new: list[Any], field: Field | None, unknown: UnknownRules) -> Any:
    if not unknown.joins_objects or (field is not None and field.repeated):
        if isinstance(old, Text):
            old = [old] if any(old) else []
        elif type(old) is not list:
            old = []
        old.extend(new)
        return old
    parts = old
    if not isinstance(old, UnknownElements):
        parts = UnknownElements(unknown)
        if isinstance(old, Text) and any(old):
            _append_part(parts, old.finish(), field)
    parts.begin_array()
    for position, value in enumerate(new):
        if type(value) is dict:
            _join_part(parts, value, position)
        else:
            parts.add(value)
    return parts


def _join_part(parts: UnknownElements, value: _Tree, position: int) -> None:
    _join_members(parts.place(value, position), value, None, parts.rules.within_array)


def _append_text(old: Any, new: str, field: Field | None) -> Any:
    if isinstance(old, Text):
        old.append(new)
    elif isinstance(old, UnknownElements):
        if new:
            _append_part(old, new, field)
    elif type(old) is list:
        if new and old and isinstance(old[-1], Text):
            old[-1].append(new)
        elif new:
            old.append(Text(new, field))
    else:
        return Text(new, field)
    return old


def _append_part(parts: UnknownElements, text: str, field: Field | None) -> None:
    """Appends a string to an array of parts."""
    parts.begin_array()
    part = text_part(field) if field is not None else None
    if part is None:
        parts.add(text)
    else:
        members, name = part
        _join_part(parts, {**members, name: text}, 0)


def _join_whole(joined: dict[Any, Any], name: str, value: Any) -> None:
    """Joins a member that is sent next to its pieces."""
    if type(value) is not dict:
        if name not in joined:
            joined[name] = value
        return
    whole = joined.setdefault(_Whole(name), {})
    for member, new in value.items():
        if member not in whole or not is_empty(new):
            whole[member] = new


def _finish(joined: Any) -> Any:
    """Makes a JSON tree of what `_join` made."""
    if isinstance(joined, Text | Name):
        return joined.finish()
    if isinstance(joined, KeyedElements | UnknownElements):
        return [_finish(element) for element in joined.in_order()]
    if type(joined) is list:
        return [_finish(item) for item in joined]
    if type(joined) is not dict:
        return joined
    finished = {k: _finish(v) for k, v in joined.items() if not isinstance(k, _Whole)}
    for key, whole in joined.items():
        if isinstance(key, _Whole):
            pieces = finished.get(key.name)
            finished[key.name] = _merge(whole, pieces if type(pieces) is dict else {})
    return finished


def _merge(whole: _Tree, pieces: _Tree) -> _Tree:
    """The object that was sent whole, where it has all that its pieces make."""
    told = {n: value for n, value in whole.items() if _covers(value, pieces.get(n))}
    return {**whole, **pieces, **told}


def _covers(whole: Any, part: Any) -> bool:
    """Whether a value has all that another one has, and perhaps more."""
    if part is None:
        return True
    if type(whole) is dict and type(part) is list and len(part) == 1:
        part = part[0]  # an object that was folded as an array of one
    if type(whole) is not type(part):
        return False
    if type(whole) is dict:
        return all(name in whole and _covers(whole[name], part[name]) for name in part)
    if type(whole) is list:
        return len(whole) >= len(part) and all(map(_covers, whole, part))
    return begins(whole, part) if type(whole) is str else bool(whole == part)
