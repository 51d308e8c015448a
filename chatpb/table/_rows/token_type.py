"""The column of tokens: which fields of the schema its structs have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chatpb.v1 import options_pb2

#: In a token: its place among its alternatives, and the bytes of its other fields.
RANK: Final = "rank"
REST: Final = "rest"


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


def option(member: FieldDescriptor, name: str) -> Any:
    """An option of the schema that a field has; its zero if it does not have it."""
    return member.GetOptions().Extensions[getattr(options_pb2, name)]


def column_of(member: FieldDescriptor) -> str:
    """The name that a field gives its column, without the prefix."""
    name: str = option(member, "column")
    return name


def token_fields(message: Descriptor, *, is_outer: bool) -> TokenFields:
    """The fields of a token.

    Args:
        message: Its type.
        is_outer: Whether it may have alternatives.

    Raises:
        TypeError: The schema declares other columns than a token has.
    """
    named = [member for member in message.fields if column_of(member)]
    by_type = {member.type: member for member in named}
    inner = by_type.pop(FieldDescriptor.TYPE_MESSAGE, None) if is_outer else None
    needed = {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_INT32,
    }
    if set(by_type) != needed or len(named) != len(by_type) + (inner is not None):
        raise TypeError(f"{message.full_name}: a token is a string, a double, bytes and an int32")
    token, number = by_type[FieldDescriptor.TYPE_STRING], by_type[FieldDescriptor.TYPE_INT32]
    if option(number, "column_follows") != token.name:
        raise TypeError(f"{number.full_name}: the number of a token follows from its text")
    alternatives = inner.message_type if inner is not None else None
    return TokenFields(
        message,
        token=token,
        logprob=by_type[FieldDescriptor.TYPE_DOUBLE],
        data=by_type[FieldDescriptor.TYPE_BYTES],
        id=number,
        list=inner,
        inner=token_fields(alternatives, is_outer=False) if alternatives is not None else None,
        repeats=inner is not None and option(inner, "column_repeats"),
    )


def token_type(fields: TokenFields, owner: str, source: str) -> pa.DataType:
    """The type of a token: `owner` and `source` are the names of what it has of its place."""
    assert fields.list is not None
    assert fields.inner is not None
    return pa.struct(
        [
            pa.field(owner, pa.int32()),
            pa.field(source, pa.dictionary(pa.int32(), pa.string())),
            *_plain_token(fields),
            pa.field(RANK, pa.int16()),
            pa.field(column_of(fields.list), pa.list_(pa.struct(_plain_token(fields.inner)))),
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
