"""The columns of a table, as the schema declares them.

The options `column`, `column_prefix`, `column_time_unit`, `column_text`, `column_repeats` and
`column_follows` of the .proto files name every column; this module reads them, and both
implementations of shredding are compiled from what it finds. docs/storage.md states the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chatpb._mapping.schema import EnumWords, enum_words
from chatpb.v1 import options_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord


class Kind(StrEnum):
    """What the values of a column are."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    DOUBLE = "double"
    STRING = "string"
    WORD = "word"  # of an enum
    INT32_LIST = "int32_list"
    INT64_LIST = "int64_list"
    MAP = "map"  # from string to string in each row


_LISTS: Final = {
    FieldDescriptor.TYPE_INT32: Kind.INT32_LIST,
    FieldDescriptor.TYPE_INT64: Kind.INT64_LIST,
}
_KINDS: Final = {
    FieldDescriptor.TYPE_BOOL: Kind.BOOL,
    FieldDescriptor.TYPE_INT32: Kind.INT32,
    FieldDescriptor.TYPE_INT64: Kind.INT64,
    FieldDescriptor.TYPE_DOUBLE: Kind.DOUBLE,
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_ENUM: Kind.WORD,
}
_TYPES: Final = {
    Kind.BOOL: pa.bool_(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.WORD: pa.string(),
    Kind.INT32_LIST: pa.list_(pa.int32()),
    Kind.INT64_LIST: pa.list_(pa.int64()),
    Kind.MAP: pa.map_(pa.string(), pa.string()),
}


@dataclass(frozen=True, eq=False)
class Column:
    """A column that the values of one field are moved to.

    Attributes:
        name: Its name.
        kind: What its values are.
        is_list: Whether a row has a list of values, one for each element of the innermost list
            around the field.
        time_unit: The unit of the timestamps that the numbers are; empty if they are none.
        words: The words of the enum, if they are words.
    """

    name: str
    kind: Kind
    is_list: bool
    time_unit: str
    words: EnumWords | None

    @property
    def type(self) -> pa.DataType:
        """The type of a row's value."""
        plain = pa.timestamp(self.time_unit, "UTC") if self.time_unit else _TYPES[self.kind]
        return pa.list_(plain) if self.is_list else plain


@dataclass(frozen=True, eq=False)
class Leaf:
    """A field whose values are moved.

    Attributes:
        name: Its name.
        number: Its number.
        column: The place of its column.
        implicit: The zero that it has while it is unset, if it has no presence; else None.
    """

    name: str
    number: int
    column: int
    implicit: object | None


@dataclass(frozen=True, eq=False)
class Branch:
    """A field whose messages have columns inside."""

    name: str
    number: int
    node: Node
    is_list: bool


@dataclass(frozen=True, eq=False)
class TokenFields:
    """The fields of a message that represents a token.

    Attributes:
        token: The field of its text.
        logprob: The field of its log probability.
        data: The field of its bytes.
        id: The field of its number, which is kept only where it does not follow from the text.
        list: The field of its alternatives, if it has them.
        inner: Their fields.
        repeats: Whether one of them may repeat the token itself.
    """

    message: Descriptor
    token: FieldDescriptor
    logprob: FieldDescriptor
    data: FieldDescriptor
    id: FieldDescriptor
    list: FieldDescriptor | None = None
    inner: TokenFields | None = None
    repeats: bool = False


@dataclass(frozen=True, eq=False)
class Text:
    """A text that may be made of tokens.

    Attributes:
        holder: The field whose message has the text.
        text: The field of the text.
        tokens_holder: The field whose message has the tokens.
        tokens: The field of the tokens.
    """

    holder: FieldDescriptor
    text: FieldDescriptor
    tokens_holder: FieldDescriptor
    tokens: FieldDescriptor


@dataclass(eq=False)
class Node:
    """A message type at one place below the record.

    Attributes:
        descriptor: The message type.
        leaves: Its fields that are moved, by number.
        branches: Its fields that have more columns inside, by number.
        tokens: Its fields that are lists of tokens, by number.
        texts: Its texts that may be made of tokens.
        scope: For an element of a list, and for the record: the columns that have one value for it.
    """

    descriptor: Descriptor
    leaves: list[Leaf] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    tokens: list[FieldDescriptor] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    scope: list[int] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing in the message is moved."""
        return not (self.leaves or self.branches or self.tokens)


class _Compiler:
    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.token_fields: TokenFields | None = None
        self.tokens_column = ""
        self._around: list[Descriptor] = []

    def node(self, descriptor: Descriptor, prefix: str, scope: list[int] | None) -> Node:
        """Compiles a message type; `scope` is that of the innermost list around it."""
        node = Node(descriptor)
        outer = node.scope if scope is None else scope
        self._around.append(descriptor)
        for member in sorted(descriptor.fields, key=lambda member: member.number):
            options = member.GetOptions()
            inner = prefix + options.Extensions[options_pb2.column_prefix]
            name = options.Extensions[options_pb2.column]
            message = member.message_type
            is_map = message is not None and message.GetOptions().map_entry
            if name and message is not None and not is_map:
                self._add_tokens(member, name)
                node.tokens.append(member)
            elif name:
                if outer is self.record or not is_map:
                    self._add_leaf(node, member, prefix + name, outer)
            elif message is not None and not is_map and message not in self._around:
                below = self.node(message, inner, None if member.is_repeated else outer)
                if not below.is_empty:
                    node.branches.append(
                        Branch(member.name, member.number, below, member.is_repeated)
                    )
        self._around.pop()
        node.texts += self._texts(descriptor)
        return node

    def compile(self) -> Node:
        self.record: list[int] = []
        root = self.node(CompletionRecord.DESCRIPTOR, "", self.record)
        root.scope = self.record
        return root

    def _add_leaf(self, node: Node, member: FieldDescriptor, name: str, scope: list[int]) -> None:
        if any(column.name == name for column in self.columns):
            raise TypeError(f"{member.full_name}: there is a column {name} already")
        if member.is_repeated:
            kind = Kind.MAP if member.message_type is not None else _LISTS[member.type]
        else:
            kind = _KINDS[member.type]
        words = enum_words(member.enum_type) if member.enum_type is not None else None
        unit = member.GetOptions().Extensions[options_pb2.column_time_unit]
        is_implicit = not member.has_presence and not member.is_repeated
        leaf = Leaf(
            member.name,
            member.number,
            len(self.columns),
            member.default_value if is_implicit else None,
        )
        node.leaves.append(leaf)
        scope.append(leaf.column)
        self.columns.append(Column(name, kind, scope is not self.record, unit, words))

    def _add_tokens(self, member: FieldDescriptor, name: str) -> None:
        message = member.message_type
        assert message is not None
        if self.token_fields is None:
            self.tokens_column = name
            self.token_fields = _token_fields(message, is_outer=True)
        if self.token_fields.message is not message or self.tokens_column != name:
            raise TypeError(f"{member.full_name}: a table has one column of tokens")

    def _texts(self, descriptor: Descriptor) -> Iterator[Text]:
        for member in descriptor.fields:
            holder = member.GetOptions().Extensions[options_pb2.column_text]
            if not holder or member.message_type is None:
                continue
            around = descriptor.fields_by_name[holder]
            assert around.message_type is not None
            texts = around.message_type.fields_by_name
            for tokens in member.message_type.fields:
                if tokens.GetOptions().Extensions[options_pb2.column] and tokens.name in texts:
                    yield Text(around, texts[tokens.name], member, tokens)


def _token_fields(message: Descriptor, *, is_outer: bool) -> TokenFields:
    named = [member for member in message.fields if column_of(member)]
    by_type = {member.type: member for member in named}
    inner = by_type.pop(FieldDescriptor.TYPE_MESSAGE, None) if is_outer else None
    wanted = {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_INT32,
    }
    if set(by_type) != wanted or len(named) != len(by_type) + (inner is not None):
        raise TypeError(f"{message.full_name}: a token is a string, a double, bytes and an int32")
    token, number = by_type[FieldDescriptor.TYPE_STRING], by_type[FieldDescriptor.TYPE_INT32]
    if number.GetOptions().Extensions[options_pb2.column_follows] != token.name:
        raise TypeError(f"{number.full_name}: the number of a token follows from its text")
    has_inner = inner is not None and inner.message_type is not None
    return TokenFields(
        message,
        token=token,
        logprob=by_type[FieldDescriptor.TYPE_DOUBLE],
        data=by_type[FieldDescriptor.TYPE_BYTES],
        id=number,
        list=inner,
        inner=_token_fields(inner.message_type, is_outer=False) if has_inner else None,  # type: ignore[union-attr,arg-type]
        repeats=has_inner and inner.GetOptions().Extensions[options_pb2.column_repeats],  # type: ignore[union-attr]
    )


def column_of(member: FieldDescriptor) -> str:
    """The name that a field gives its column, without the prefix."""
    name: str = member.GetOptions().Extensions[options_pb2.column]
    return name


def made_texts(node: Node) -> Iterator[Text]:
    """The texts at a place and below it that may be made of tokens."""
    yield from node.texts
    for branch in node.branches:
        yield from made_texts(branch.node)


_compiler: Final = _Compiler()
ROOT: Final = _compiler.compile()
COLUMNS: Final = tuple(_compiler.columns)
assert _compiler.token_fields is not None
TOKENS: Final = _compiler.token_fields
TOKENS_COLUMN: Final = _compiler.tokens_column

#: The columns that no field declares: the number of tokens in each list, how their numbers are
#: spelled, and the bytes of what was not moved.
COUNTS: Final = f"{TOKENS_COLUMN}_counts"
DECIMAL: Final = f"{TOKENS_COLUMN}_decimal"
CORRECTIONS: Final = f"{TOKENS_COLUMN}_corrections"
RECORD: Final = "record"
#: In a token: its place among its alternatives, and the bytes of its other fields.
RANK: Final = "rank"
REST: Final = "rest"


def _token_type() -> pa.DataType:
    assert TOKENS.inner is not None
    assert TOKENS.list is not None
    alternative = pa.struct(_plain_token(TOKENS.inner))
    return pa.struct(
        [
            *_plain_token(TOKENS),
            pa.field(RANK, pa.int16()),
            pa.field(column_of(TOKENS.list), pa.list_(alternative)),
        ]
    )


def _plain_token(fields: TokenFields) -> list[pa.Field]:
    return [
        pa.field(column_of(fields.token), pa.dictionary(pa.int32(), pa.string())),
        pa.field(column_of(fields.logprob), pa.float32()),
        pa.field(column_of(fields.data), pa.binary()),
        pa.field(column_of(fields.id), pa.int32()),
        pa.field(REST, pa.binary()),
    ]


SCHEMA: Final = pa.schema(
    [
        *((column.name, column.type) for column in COLUMNS),
        (TOKENS_COLUMN, pa.list_(_token_type())),
        (COUNTS, pa.list_(pa.int32())),
        (DECIMAL, pa.bool_()),
        (CORRECTIONS, pa.list_(pa.int32())),
        pa.field(RECORD, pa.binary(), nullable=False),
    ]
)
"""The columns of a table, one row for each `CompletionRecord`."""
