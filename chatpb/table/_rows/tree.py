"""The tree of columns, and the tree of the message types whose fields are moved to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chatpb._mapping.schema import EnumWords


class Kind(StrEnum):
    """The type of the values of a column."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    DOUBLE = "double"
    STRING = "string"
    WORD = "word"  # of an enum
    INT32_LIST = "int32_list"
    INT64_LIST = "int64_list"
    STRING_LIST = "string_list"
    MAP = "map"  # from string to string


#: The kinds of repeated and of other fields.
LISTS: Final = {
    FieldDescriptor.TYPE_INT32: Kind.INT32_LIST,
    FieldDescriptor.TYPE_INT64: Kind.INT64_LIST,
    FieldDescriptor.TYPE_STRING: Kind.STRING_LIST,
    FieldDescriptor.TYPE_MESSAGE: Kind.MAP,
}
KINDS: Final = {
    FieldDescriptor.TYPE_BOOL: Kind.BOOL,
    FieldDescriptor.TYPE_INT32: Kind.INT32,
    FieldDescriptor.TYPE_INT64: Kind.INT64,
    FieldDescriptor.TYPE_DOUBLE: Kind.DOUBLE,
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_ENUM: Kind.WORD,
}
#: The fields of an entry of a map.
KEY: Final = "key"
VALUE: Final = "value"
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
_TYPES: Final = {
    Kind.BOOL: pa.bool_(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.WORD: _WORDS,
    Kind.INT32_LIST: pa.list_(pa.int32()),
    Kind.INT64_LIST: pa.list_(pa.int64()),
    Kind.STRING_LIST: pa.list_(pa.string()),
    Kind.MAP: pa.list_(pa.struct([(KEY, pa.string()), (VALUE, pa.string())])),
}


def strings(texts: Iterable[str]) -> pa.Array:
    """An array of texts. `pyarrow.array` imports pandas if it is installed, which takes time."""
    data = [text.encode() for text in texts]
    offsets = np.array([0, *accumulate(map(len, data))], np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(data), buffers)


@dataclass(frozen=True, eq=False)
class Column:
    """A column that has the values of fields.

    Attributes:
        name: Its name.
        kind: The type of its values.
        time_unit: The unit of the timestamps that its numbers are; empty if they are none.
        words: The words of the enum, if its values are words.
    """

    name: str
    kind: Kind
    time_unit: str = ""
    words: EnumWords | None = None

    @property
    def values(self) -> tuple[Kind, str, EnumWords | None]:
        """What columns that are one have in common."""
        return self.kind, self.time_unit, self.words

    @property
    def type(self) -> pa.DataType:
        """The type of a value."""
        return pa.timestamp(self.time_unit, "UTC") if self.time_unit else _TYPES[self.kind]

    @cached_property
    def dictionary(self) -> pa.Array | None:
        """All words that its values can be, in the order of their codes; None if none are."""
        return None if self.words is None else strings(self.words.words.values())


@dataclass(frozen=True, eq=False)
class ListColumn:
    """A column that is a list of structs, one for each of the messages that are moved to it.

    Attributes:
        name: Its name.
        columns: The fields of a struct.
        is_shared: Whether several fields have their messages in it.
    """

    name: str
    columns: list[Column | ListColumn]
    is_shared: bool

    @property
    def type(self) -> pa.DataType:
        """The type of a list."""
        return pa.list_(pa.struct([pa.field(each.name, each.type) for each in self.columns]))


@dataclass(frozen=True, eq=False)
class Leaf:
    """A field whose values are moved.

    Attributes:
        name: Its name.
        number: Its number.
        column: Its column.
        implicit: The zero that it has while it is unset, if it has no presence; else None.
        unset: The number of the word that JSON has for it while it is unset; 0 if there is none.
    """

    name: str
    number: int
    column: Column
    implicit: object | None
    unset: int


@dataclass(frozen=True, eq=False)
class Branch:
    """A field with a message that has columns inside."""

    name: str
    number: int
    node: Node


@dataclass(frozen=True, eq=False)
class Elements:
    """A repeated field whose messages are elements of a list."""

    name: str
    number: int
    column: ListColumn
    node: Node


@dataclass(frozen=True, eq=False)
class Tokens:
    """A repeated field whose messages are moved to the column of tokens."""

    name: str
    number: int


@dataclass(eq=False)
class Node:
    """A message type at one place below the record; its fields by number.

    Attributes:
        descriptor: The message type.
        leaves: The fields whose values are moved.
        branches: The fields with a message that has columns inside.
        lists: The repeated fields whose messages are elements of a list.
        tokens: The repeated fields with tokens.
        owner: The field that each token inside the message has a copy of, if there is one.
    """

    descriptor: Descriptor
    leaves: list[Leaf] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    lists: list[Elements] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    owner: FieldDescriptor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing in the message is moved."""
        return not (self.leaves or self.branches or self.lists or self.tokens)
