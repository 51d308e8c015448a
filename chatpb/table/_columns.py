"""The columns of a table, as the schema declares them.

The options of the .proto files whose names begin with `column` declare every column. This module
reads them, and both implementations of shredding are compiled from the result: a tree of columns,
and a tree of the message types whose fields are moved to them. docs/storage.md has the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chatpb._mapping.schema import EnumWords, enum_words
from chatpb.table._token_type import TokenFields, option, token_fields, token_type
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord


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


_LISTS: Final = {
    FieldDescriptor.TYPE_INT32: Kind.INT32_LIST,
    FieldDescriptor.TYPE_INT64: Kind.INT64_LIST,
    FieldDescriptor.TYPE_STRING: Kind.STRING_LIST,
    FieldDescriptor.TYPE_MESSAGE: Kind.MAP,
}
_KINDS: Final = {
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


class _Scope:
    """The columns of the innermost list around a message type, or of the record.

    Attributes:
        columns: The columns so far.
        taken: The names that fields of the same message type have already: others may share them.
    """

    def __init__(self, columns: list[Column | ListColumn]) -> None:
        self.columns = columns
        self.taken: set[str] = set()

    def add(self, member: FieldDescriptor, column: Column) -> Column:
        """Adds a column, or finds the one that another message type has."""
        known = self._known(member, column.name)
        if known is None:
            self.columns.append(column)
            return column
        if not isinstance(known, Column) or known.values != column.values:
            raise TypeError(f"{member.full_name}: the column {column.name} has another type")
        return known

    def add_list(self, member: FieldDescriptor, name: str, *, is_shared: bool) -> ListColumn:
        """Adds a list, or finds the one that it shares."""
        known = next((each for each in self.columns if each.name == name), None)
        if is_shared and isinstance(known, ListColumn) and known.is_shared:
            return known
        known = self._known(member, name)
        if known is None:
            known = ListColumn(name, [], is_shared)
            self.columns.append(known)
        if not isinstance(known, ListColumn):
            raise TypeError(f"{member.full_name}: the column {name} is not a list")
        return known

    def _known(self, member: FieldDescriptor, name: str) -> Column | ListColumn | None:
        if name in self.taken:
            raise TypeError(f"{member.full_name}: there is a column {name} already")
        self.taken.add(name)
        return next((each for each in self.columns if each.name == name), None)


class _Compiler:
    def __init__(self) -> None:
        self.record = _Scope([])
        self.token_message: Descriptor | None = None
        self.tokens_column = ""
        self.sources: list[str] = []
        self.owner = ""
        self._around: list[Descriptor] = []
        self.root = self._node(CompletionRecord.DESCRIPTOR, "", self.record)

    def _node(self, descriptor: Descriptor, prefix: str, scope: _Scope) -> Node:
        """Compiles a message type; `scope` has the columns of the innermost list around it."""
        node = Node(descriptor)
        self._around.append(descriptor)
        for member in sorted(descriptor.fields, key=lambda member: member.number):
            self._add(node, member, prefix, scope)
        self._around.pop()
        return node

    def _add(self, node: Node, member: FieldDescriptor, prefix: str, scope: _Scope) -> None:
        name, shared = option(member, "column"), option(member, "column_shared")
        message = member.message_type
        if option(member, "column_of_tokens"):
            node.owner = member
            self.owner = option(member, "column_of_tokens")
        if option(member, "column_tokens"):
            self._add_tokens(node, member)
        elif name and (message is None or message.GetOptions().map_entry):
            self._add_leaf(node, member, prefix + name, scope)
        elif message is None or message.GetOptions().map_entry or message in self._around:
            return
        elif shared or (name and member.is_repeated):
            around = self.record if shared else scope
            column = around.add_list(member, shared or prefix + name, is_shared=bool(shared))
            below = self._node(message, "", _Scope(column.columns))
            node.lists.append(Elements(member.name, member.number, column, below))
        elif not member.is_repeated:
            below = self._node(message, prefix + option(member, "column_prefix"), scope)
            if not below.is_empty:
                node.branches.append(Branch(member.name, member.number, below))

    def _add_leaf(self, node: Node, member: FieldDescriptor, name: str, scope: _Scope) -> None:
        kind = (_LISTS if member.is_repeated else _KINDS)[member.type]
        words = enum_words(member.enum_type) if member.enum_type is not None else None
        column = Column(name, kind, option(member, "column_time_unit"), words)
        is_implicit = not member.has_presence and not member.is_repeated
        implicit = member.default_value if is_implicit else None
        unset = 0
        if text := json.loads(option(member, "json_unset") or "null"):
            if words is None:
                raise TypeError(f"{member.full_name}: only an enum has a column and json_unset")
            unset = words.numbers[text]
        column = scope.add(member, column)
        node.leaves.append(Leaf(member.name, member.number, column, implicit, unset))

    def _add_tokens(self, node: Node, member: FieldDescriptor) -> None:
        message, name = member.message_type, option(member, "column_tokens")
        self.token_message = self.token_message or message
        self.tokens_column = self.tokens_column or name
        if self.token_message is not message or self.tokens_column != name:
            raise TypeError(f"{member.full_name}: a table has one column of tokens")
        if member.name not in self.sources:
            self.sources.append(member.name)
        node.tokens.append(Tokens(member.name, member.number))


_compiler: Final = _Compiler()
ROOT: Final = _compiler.root
#: The completion of a record: its columns are also those of the completion that chunks make.
FOLDED: Final = next(b for b in ROOT.branches if b.node.descriptor is ChatCompletion.DESCRIPTOR)
#: The columns that the schema declares, except that of tokens.
COLUMNS: Final = tuple(_compiler.record.columns)
assert _compiler.token_message is not None
TOKENS: Final[TokenFields] = token_fields(_compiler.token_message, is_outer=True)
TOKENS_COLUMN: Final = _compiler.tokens_column
#: The names of the fields with tokens: what a token's source can be.
SOURCES: Final = tuple(_compiler.sources)
#: In a token: a copy of the number of its choice, and the name of the field that it was in.
OWNER: Final = _compiler.owner
SOURCE: Final = "source"

#: The columns that no field declares: the number of tokens in each list, how their numbers are
#: spelled, and the bytes of what was not moved.
COUNTS: Final = f"{TOKENS_COLUMN}_counts"
DECIMAL: Final = f"{TOKENS_COLUMN}_decimal"
CORRECTIONS: Final = f"{TOKENS_COLUMN}_corrections"
RECORD: Final = "record"


def depth_first(columns: Iterable[Column | ListColumn]) -> Iterator[Column | ListColumn]:
    """Columns and the columns inside them, depth first."""
    for column in columns:
        yield column
        if isinstance(column, ListColumn):
            yield from depth_first(column.columns)


SCHEMA: Final = pa.schema(
    [
        *((column.name, column.type) for column in COLUMNS),
        (TOKENS_COLUMN, pa.list_(token_type(TOKENS, OWNER, SOURCE))),
        (COUNTS, pa.list_(pa.int32())),
        (DECIMAL, pa.bool_()),
        (CORRECTIONS, pa.list_(pa.int32())),
        pa.field(RECORD, pa.binary(), nullable=False),
    ]
)
"""The columns of a table, one row for each `CompletionRecord`."""
