"""What the schema specifies of the redaction of a field."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from chatpb._metadata import is_metadata
from chatpb.v1 import options_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb.v1.residue_pb2 import Residue

Kind = Literal["opaque", "map", "message", "token", "token bytes", "text", "other"]


class Rules(NamedTuple):
    """What the schema specifies of a field.

    Attributes:
        kind: What is done with its values: contents that no redactor can read are left out
            (``opaque``), a text that has its bytes next to it is a ``token``, ``other`` stays.
        is_list: Whether it has several.
        is_content: Whether it is not marked as metadata.
        is_json: Whether it is always JSON.
        is_chunk: Whether its values are the chunks of a record.
        fold: How its values are folded.
        other: The text of the bytes of a token, or the reverse.
        derived: Fields of the same message that follow from the text of a token.
    """

    kind: Kind
    is_list: bool
    is_content: bool
    is_json: bool
    is_chunk: bool
    fold: int
    other: str
    derived: tuple[str, ...]


@functools.cache
def rules_of(field: FieldDescriptor) -> Rules:
    """What the schema specifies of a field."""
    options = field.GetOptions().Extensions
    around: Any = field.containing_type
    other = options[options_pb2.json_unset_utf8]
    derived: list[str] = []
    for sibling in around.fields if field.type == field.TYPE_STRING else ():
        of_sibling = sibling.GetOptions().Extensions
        if of_sibling[options_pb2.json_unset_utf8] == field.name:
            other = sibling.name
            derived.append(sibling.name)
        elif of_sibling[options_pb2.column_follows] == field.name:
            derived.append(sibling.name)
    if derived:
        derived += [
            sibling.name
            for sibling in around.fields
            if sibling.GetOptions().Extensions[options_pb2.column_repeats]
        ]
    is_residue = around.full_name == Residue.DESCRIPTOR.full_name
    is_raw = options[options_pb2.json_encoding] == options_pb2.JSON_ENCODING_RAW
    return Rules(
        _kind(field, other),
        field.is_repeated,
        not is_metadata(field),
        is_residue or is_raw,
        field.is_repeated and around is CompletionRecord.DESCRIPTOR,
        options[options_pb2.fold],
        other,
        tuple(derived),
    )


def _kind(field: FieldDescriptor, other: str) -> Kind:
    inner: Any = field.message_type
    kind: Kind = "other"
    if field.GetOptions().Extensions[options_pb2.is_opaque]:
        kind = "opaque"
    elif inner is not None and inner.GetOptions().map_entry:
        kind = "other" if is_metadata(field) else "map"
    elif inner is not None:
        kind = "message"
    elif field.type == FieldDescriptor.TYPE_BYTES:
        kind = "token bytes" if other else "opaque"
    elif field.type == FieldDescriptor.TYPE_STRING:
        kind = "token" if other else "text"
    return kind
