"""The conversions, as functions over columns."""

from __future__ import annotations

from importlib import resources

import pyarrow as pa
from google.protobuf.message import Message
from pyspark.sql import Column
from pyspark.sql.pandas.types import from_arrow_type

from chatpb._mapping.convert import binary_to_json, json_to_binary
from chatpb.spark._column import Errors, as_bytes, check, converted, udf
from chatpb.spark._structs import decode, encode, struct_type
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord


def from_json(
    column: Column | str,
    message_type: type[Message] = ChatCompletion,
    *,
    errors: Errors = "raise",
    allow_nan: bool = False,
) -> Column:
    """A column of JSON texts as one of messages in binary form; see `chatpb.json_to_binary`.

    The law: ``to_json(from_json(c))`` holds the same JSON values as ``c``.

    Args:
        column: A column of strings, or of bytes in UTF-8, or its name. Null stays null.
        message_type: The class of the messages.
        errors: What happens to a text that is not a JSON object: ``raise`` fails the job with
            the text of its `ConversionError`, ``null`` gives null.
        allow_nan: As for `chatpb.from_json`.
    """
    check(errors)

    def convert(texts: pa.Array) -> pa.Array:
        return converted(
            texts, errors, lambda text: json_to_binary(text, message_type, allow_nan=allow_nan)
        )

    return udf(convert, "binary")(as_bytes(column))


def to_json(
    column: Column | str,
    message_type: type[Message] = ChatCompletion,
    *,
    errors: Errors = "raise",
    allow_nan: bool = False,
    ignore_unknown_fields: bool = False,
) -> Column:
    """A column of messages in binary form as one of JSON texts; see `chatpb.binary_to_json`.

    Args:
        column: A column of bytes, or its name. Null stays null.
        message_type: The class of the messages.
        errors: What happens to bytes without a JSON form: as for `from_json`.
        allow_nan: As for `chatpb.to_json`.
        ignore_unknown_fields: As for `chatpb.to_json`.
    """
    check(errors)
    options = {"allow_nan": allow_nan, "ignore_unknown_fields": ignore_unknown_fields}

    def convert(messages: pa.Array) -> pa.Array:
        texts = converted(
            messages, errors, lambda data: binary_to_json(data, message_type, **options)
        )
        return texts.cast(pa.string())

    return udf(convert, "string")(as_bytes(column))


def descriptor_set() -> bytes:
    """The schema as a FileDescriptorSet with all imports, as protoc writes it.

    Other tools take it from the file ``descriptor_set.binpb`` in the package `chatpb.v1`.
    """
    return (resources.files("chatpb.v1") / "descriptor_set.binpb").read_bytes()


def from_protobuf(
    column: Column | str,
    message_type: type[Message] = CompletionRecord,
    *,
    errors: Errors = "raise",
) -> Column:
    """A column of messages in binary form as one of structs, with the names of the schema.

    The structs are those of Spark's function of this name with ``emit.default.values``, but this
    one needs no package except chatpb.

    The law: ``to_protobuf(from_protobuf(c))`` are the same messages as ``c``, less fields that the
    schema does not know.

    Args:
        column: A column of bytes, or its name. Null stays null.
        message_type: The class of the messages.
        errors: What happens to bytes that are not a message: as for `from_json`.
    """
    check(errors)

    def convert(messages: pa.Array) -> pa.Array:
        return decode(messages, message_type, skip_errors=errors == "null")

    kind = from_arrow_type(struct_type(message_type))
    return udf(convert, kind)(as_bytes(column))


def to_protobuf(column: Column | str, message_type: type[Message] = CompletionRecord) -> Column:
    """A column of structs as one of messages in binary form.

    Args:
        column: A column of structs with fields named as in the schema, or its name. Null stays
            null. A field that is null or missing is not set; one that the schema does not know
            fails the job.
        message_type: The class of the messages.
    """

    def convert(structs: pa.Array) -> pa.Array:
        return encode(structs, message_type)

    return udf(convert, "binary")(column)
