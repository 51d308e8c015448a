"""The columns of a table, as the schema declares them.

The options of the .proto files whose names begin with `column` declare every column. This module
reads them, and both implementations of shredding are compiled from the result: a tree of columns,
and a tree of the message types whose fields are moved to them. docs/storage.md has the rules.
"""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chatpb._mapping.schema import enum_words
from chatpb.table._rows.token_type import TokenFields, option, token_fields, token_type
from chatpb.table._rows.tree import (
    KINDS,
    LISTS,
    Branch,
    Column,
    Elements,
    Leaf,
    ListColumn,
    Node,
    Tokens,
)
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord


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
        kind = (LISTS if member.is_repeated else KINDS)[member.type]
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
