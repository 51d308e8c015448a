"""A stream of chunks to the completion that it makes.

Chunks are joined as JSON trees, member by member, by the rules that the schema gives for each field
and for members that it does not know. docs/mapping.md has the rules.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from chatpb._errors import ConversionError
from chatpb._mapping.convert import from_tree, to_tree
from chatpb._mapping.schema import BASE64, Field, MessageType, mapping_of
from chatpb._mapping.text import parse
from chatpb._mapping.writer import Context
from chatpb.v1 import options_pb2
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion

CHUNK = mapping_of(ChatCompletionChunk)
COMPLETION = mapping_of(ChatCompletion)
REPLACE, APPEND, APPEND_ARRAYS, BY_KEY, DROP, KIND = options_pb2.Fold.values()
_MISSING = object()


def fold(
    chunks: Iterable[ChatCompletionChunk], *, ignore_unknown_fields: bool = False
) -> ChatCompletion:
    """Assembles the chunks of one stream into the completion that they make.

    Content, refusal, reasoning, arguments, audio and log probabilities are appended; choices and
    tool calls are told apart by their index, or by their position where the index is missing. A
    later chunk without a member, or with null, does not erase it. The completion has exactly the
    members that the chunks had, including those that the schema does not know.

    The law: ``fold(unfold(c)) == c``.

    Args:
        chunks: The chunks, in the order in which they came.
        ignore_unknown_fields: As for `to_json`.

    Raises:
        ConversionError: There is no chunk, or a chunk cannot be read (see `to_json`).
    """
    folded: dict[Any, Any] = {}
    count = 0
    for chunk in chunks:
        context = Context(parse_free, allow_nan=True)
        tree = to_tree(chunk, context, ignore_unknown_fields)
        _join_members(folded, tree, CHUNK, REPLACE, frozenset(outside_schema(chunk, CHUNK)))
        count += 1
    if not count:
        raise ConversionError("expected at least one chunk, got none")
    return from_tree(_finish(folded), ChatCompletion)


def parse_free(text: str) -> Any:
    """Reads the JSON text of a free value, whatever it may hold."""
    return parse(text, allow_nan=True)


def fold_rule(field: Field) -> int:
    """How the values of a field are joined."""
    rule: int = field.options[options_pb2.fold]
    return rule


def folded_name(field: Field) -> str:
    """The member that a field becomes when it is folded."""
    return field.options[options_pb2.fold_into] or field.name


def marked(mapped: MessageType, option: Any) -> str | None:
    """The field of a message that has an option set, or None."""
    return next((f.name for f in mapped.fields.values() if f.options[option]), None)


def outside_schema(message: Any, mapped: MessageType) -> Iterable[str]:
    """The members of a message that its typed fields do not hold."""
    assert mapped.residue is not None
    extra = getattr(message, mapped.residue.name).extra_json
    return parse_free(extra) if extra else ()


class _Text(list[str]):
    """Pieces of a string."""

    def __init__(self, first: str, field: Field | None) -> None:
        super().__init__([first])
        self.is_base64 = field is not None and field.encoding == BASE64

    def finish(self) -> str:
        if self.is_base64 and len(self) > 1:
            try:
                pieces = [base64.b64decode(piece, validate=True) for piece in self]
            except (binascii.Error, ValueError):
                return "".join(self)
            return base64.b64encode(b"".join(pieces)).decode()
        return "".join(self)


class _Whole(str):
    """The name of a member that some servers send whole in addition to its pieces."""

    __slots__ = ()


class _Keyed:
    """The elements of an array that are told apart by a key."""

    def __init__(self, mapped: MessageType) -> None:
        self.mapped = mapped
        self.key = marked(mapped, options_pb2.fold_key)
        self.identity = marked(mapped, options_pb2.fold_identity)
        self.chunk = 0
        self.elements: list[tuple[int, int, Any]] = []  # the chunk, the key, what is joined
        self.latest: dict[int, tuple[int, int, Any]] = {}

    def add(self, values: list[Any]) -> None:
        self.chunk += 1
        for position, value in enumerate(values):
            if type(value) is not dict:
                self._insert(position, value)
                continue
            key = value.get(self.key)
            key = key if type(key) is int else position
            known = self.latest.get(key)
            if known is None or not self._same(known, value):
                known = self._insert(key, {})
            _join_members(known[2], value, self.mapped, REPLACE)

    def _same(self, known: tuple[int, int, Any], value: dict[str, Any]) -> bool:
        chunk, _, element = known
        if type(element) is not dict:
            return False
        if self.identity is None:  # no chunk has one choice twice
            return chunk != self.chunk
        old, new = element.get(self.identity), value.get(self.identity)
        return not old or not new or old == new

    def _insert(self, key: int, element: Any) -> tuple[int, int, Any]:
        """Puts a new element where its key belongs, but keeps the order within one chunk."""
        entry = (self.chunk, key, element)
        at = len(self.elements)
        while at and self.elements[at - 1][0] != self.chunk and self.elements[at - 1][1] > key:
            at -= 1
        self.elements.insert(at, entry)
        self.latest[key] = entry
        return entry


def _join_members(
    joined: dict[Any, Any],
    members: dict[str, Any],
    mapped: MessageType | None,
    unknown: int,
    outside: frozenset[str] = frozenset(),
) -> None:
    """Joins the members of an object into `joined`.

    Members named in `outside` are not those of the fields that have their names, so that what a
    field would drop or change stays as it is.
    """
    fields = mapped.fields if mapped is not None else {}
    if mapped is not None:
        unknown = mapped.options[options_pb2.fold_unknown] or REPLACE
    for name, value in members.items():
        field = fields.get(name)
        if field is None:
            if type(value) is dict and value and _is_whole(name, mapped):
                joined[_Whole(name)] = value
            else:
                joined[name] = _join(joined.get(name, _MISSING), value, unknown)
            continue
        rule = fold_rule(field)
        if name in outside and not (rule == BY_KEY and type(value) is list):
            rule = REPLACE
        elif rule == DROP:
            continue
        elif rule == KIND:
            rule = REPLACE
            if value == field.unset:
                value = COMPLETION.fields[name].unset
        into = folded_name(field)
        joined[into] = _join(joined.get(into, _MISSING), value, rule, field)


def _is_whole(name: str, mapped: MessageType | None) -> bool:
    """Whether a member that the schema does not know is what the pieces of another make."""
    return mapped is not None and any(folded_name(f) == name for f in mapped.fields.values())


def _join(old: Any, new: Any, rule: int, field: Field | None = None) -> Any:
    """Joins two values of a member; what comes out is finished by `_finish`."""
    if rule == BY_KEY and type(new) in (dict, list) and field and field.message:
        keyed = old if isinstance(old, _Keyed) else _Keyed(field.message)
        keyed.add([new] if type(new) is dict else new)
        return keyed
    if isinstance(old, _Keyed):
        return old
    if type(new) is dict:
        if type(old) is not dict:
            old = {}
        _join_members(old, new, field.message if field else None, rule)
        return old
    if rule == APPEND and type(new) is str:
        return _append_text(old, new, field)
    if rule in (APPEND, APPEND_ARRAYS) and type(new) is list:
        if isinstance(old, _Text):
            old = [old] if any(old) else []
        elif type(old) is not list:
            old = []
        old.extend(new)
        return old
    if old is _MISSING or old is None:
        return new
    if new is None or (new is not False and not new):
        return old
    return new


def _append_text(old: Any, new: str, field: Field | None) -> Any:
    if isinstance(old, _Text):
        old.append(new)
        return old
    if type(old) is not list:
        return _Text(new, field)
    if new:  # after an array, text goes on as an element of it
        if old and isinstance(old[-1], _Text):
            old[-1].append(new)
        else:
            old.append(_Text(new, field))
    return old


def _finish(joined: Any) -> Any:
    """Turns what `_join` made into a JSON tree."""
    if isinstance(joined, _Text):
        return joined.finish()
    if isinstance(joined, _Keyed):
        return [_finish(element) for _, _, element in joined.elements]
    if type(joined) is list:
        return [_finish(item) for item in joined]
    if type(joined) is not dict:
        return joined
    finished = {k: _finish(v) for k, v in joined.items() if not isinstance(k, _Whole)}
    for key, value in joined.items():
        if isinstance(key, _Whole):
            pieces = finished.get(str(key))
            rest = pieces if type(pieces) is dict else {}
            finished[str(key)] = {**value, **{k: v for k, v in rest.items() if k not in value}}
    return finished
