"""The rules of folding, read from the options of the schema."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

from chatpb._mapping.schema import Field, MessageType, mapping_of
from chatpb._mapping.text import JsonNumber, parse, parse_plain
from chatpb.v1 import options_pb2
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion

CHUNK: Final = mapping_of(ChatCompletionChunk)
COMPLETION: Final = mapping_of(ChatCompletion)
(
    REPLACE,
    APPEND,
    APPEND_ARRAYS,
    BY_KEY,
    DROP,
    KIND,
    FIRST,
    NAME,
    WHOLE,
) = options_pb2.Fold.values()
# The member that holds the JSON text of a completion.
COMPLETION_TEXT: Final[str] = CHUNK.options[options_pb2.fold_whole]


@dataclass(frozen=True)
class UnknownRules:
    """How the members of a message that the schema does not know are folded.

    Attributes:
        rule: The rule for all of them, except within the objects of an array.
        key: The member whose integer identifies an object of an array, or "".
        kind: The member that tells the kind of such an object, or "".
        pieces: The members of such an object whose strings are appended.
        in_array: Whether these are the rules for the members of such an object.
    """

    rule: int
    key: str = ""
    kind: str = ""
    pieces: frozenset[str] = frozenset()
    in_array: bool = False

    @property
    def joins_objects(self) -> bool:
        """Whether objects of an array may be joined with earlier ones."""
        return bool(self.key or self.kind)

    def of(self, name: str) -> int:
        """The rule for a member."""
        if not self.in_array:
            return self.rule
        return APPEND if name in self.pieces else APPEND_ARRAYS

    @functools.cached_property
    def within_array(self) -> UnknownRules:
        """The rules for the objects of an array."""
        return UnknownRules(self.rule, self.key, self.kind, self.pieces, in_array=True)


@functools.cache
def unknown_rules(mapped: MessageType) -> UnknownRules:
    """How the members of a message that the schema does not know are folded."""
    return UnknownRules(
        mapped.options[options_pb2.fold_unknown],
        mapped.options[options_pb2.fold_unknown_key],
        mapped.options[options_pb2.fold_unknown_kind],
        frozenset(mapped.options[options_pb2.fold_unknown_pieces]),
    )


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


@functools.cache
def name_paths(mapped: MessageType) -> tuple[tuple[str, str], ...]:
    """Where the name of an element stands: a field of it, and a field of that one's message."""
    return tuple(
        (outer.name, inner.name)
        for outer in mapped.fields.values()
        if outer.message is not None
        for inner in outer.message.fields.values()
        if fold_rule(inner) == NAME
    )


@functools.cache
def text_part(field: Field) -> tuple[dict[str, Any], str] | None:
    """The part that a string becomes among parts, and the member of it that takes the string."""
    text = field.options[options_pb2.fold_part]
    if not text:
        return None
    part = parse_plain(text)
    return part, next(name for name, value in part.items() if value == "")


def parse_free(text: str) -> Any:
    """Reads the JSON text of a free value, whatever it may hold."""
    return parse(text, allow_nan=True)


def is_empty(value: Any) -> bool:
    """Whether a value erases nothing: null, "", 0, [] or {}."""
    if type(value) is JsonNumber:
        return float(value) == 0
    return value is None or (value is not False and not value)


def is_same(one: Any, two: Any) -> bool:
    """Whether two values are equal, numbers by their spelling; to Python, true is equal to 1."""
    if type(one) is not type(two):
        return False
    if type(one) is dict:
        return one.keys() == two.keys() and all(is_same(one[name], two[name]) for name in one)
    if type(one) is list:
        return len(one) == len(two) and all(map(is_same, one, two))
    return bool(one == two)
