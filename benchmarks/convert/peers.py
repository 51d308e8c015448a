"""The rows of other libraries. Each is optional; packages are imported when a row gets ready."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

import chatpb.v1
from convert.inputs import Input
from convert.mirror import PACKAGE, mirror_file
from convert.rows import NoModelError, Row, Task, Work
from convert.structs import struct_of
from convert.subject import binary


def rows() -> tuple[Row, ...]:
    """The peers."""
    return (
        Row("json.loads (standard library)", Work.READ, _reading(_stdlib)),
        Row("msgspec: typed decode", Work.READ, _reading(_msgspec)),
        Row("openai: model_validate_json", Work.READ, _reading(_pydantic)),
        Row("openai: construct, as the SDK", Work.READ, _reading(_construct)),
        Row("protobuf-py: from_json", Work.READ, _reading(_protobuf_py)),
        Row("json_format: Parse", Work.READ, _reading(_json_format)),
        Row("protobuf-py: from_json, to_binary", Work.TO_BINARY, _to_binary(_protobuf_py)),
        Row("json_format: Parse, serialize", Work.TO_BINARY, _to_binary(_json_format)),
        Row("protobuf: FromString", Work.READ_BINARY, _from_string),
        Row("protobuf-py: from_binary", Work.READ_BINARY, _reading_binary(_protobuf_py)),
        Row("json.dumps (standard library)", Work.WRITE, _writing(_stdlib)),
        Row("msgspec: typed encode", Work.WRITE, _writing(_msgspec)),
        Row("openai: model_dump_json", Work.WRITE, _writing(_pydantic)),
        Row("protobuf-py: to_json", Work.WRITE, _writing(_protobuf_py)),
        Row("json_format: MessageToJson, as by default", Work.WRITE, _writing(_json_format)),
        Row("json_format: MessageToJson, compact", Work.WRITE, _writing(_json_format_compact)),
        Row("protobuf-py: from_binary, to_json", Work.FROM_BINARY, _from_binary(_protobuf_py)),
        Row(
            "json_format: parse, MessageToJson, as by default",
            Work.FROM_BINARY,
            _from_binary(_json_format),
        ),
        Row(
            "json_format: parse, MessageToJson, compact",
            Work.FROM_BINARY,
            _from_binary(_json_format_compact),
        ),
    )


class Codec:
    """How one library reads and writes one kind of message."""

    def __init__(
        self,
        read: Callable[[bytes], Any],
        write: Callable[[Any], Any],
        to_binary: Callable[[Any], bytes] = bytes,
        from_binary: Callable[[bytes], Any] = bytes,
    ) -> None:
        self.read = read
        self.write = write
        self.to_binary = to_binary
        self.from_binary = from_binary


_Maker = Callable[[str], Codec]


def _reading(make: _Maker) -> Callable[[Input], Task]:
    return lambda source: Task(make(source.message_name).read, source.documents)


def _to_binary(make: _Maker) -> Callable[[Input], Task]:
    def prepare(source: Input) -> Task:
        codec = make(source.message_name)
        read, to_binary = codec.read, codec.to_binary
        return Task(lambda text: to_binary(read(text)), source.documents)

    return prepare


def _writing(make: _Maker) -> Callable[[Input], Task]:
    def prepare(source: Input) -> Task:
        codec = make(source.message_name)
        return Task(codec.write, [codec.read(document) for document in source.documents])

    return prepare


def _from_binary(make: _Maker) -> Callable[[Input], Task]:
    def prepare(source: Input) -> Task:
        codec = make(source.message_name)
        from_binary, write = codec.from_binary, codec.write
        data = [codec.to_binary(codec.read(document)) for document in source.documents]
        return Task(lambda binary: write(from_binary(binary)), data)

    return prepare


def _reading_binary(make: _Maker) -> Callable[[Input], Task]:
    def prepare(source: Input) -> Task:
        codec = make(source.message_name)
        data = [codec.to_binary(codec.read(document)) for document in source.documents]
        return Task(codec.from_binary, data)

    return prepare


def _from_string(source: Input) -> Task:
    """How the messages of chatpb are read from binary: by upb."""
    return Task(getattr(chatpb.v1, source.message_name).FromString, binary(source))


def _stdlib(_: str) -> Codec:
    return Codec(json.loads, json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode)


def _msgspec(message_name: str) -> Codec:
    msgspec = importlib.import_module("msgspec")
    decoder = msgspec.json.Decoder(struct_of(message_name))
    return Codec(decoder.decode, msgspec.json.Encoder().encode)


def _model(message_name: str) -> Any:
    chat = importlib.import_module("openai.types.chat")
    if message_name not in ("ChatCompletion", "ChatCompletionChunk"):
        raise NoModelError  # requests are typed dicts
    return getattr(chat, message_name)


def _pydantic(message_name: str) -> Codec:
    model = _model(message_name)
    return Codec(model.model_validate_json, model.model_dump_json)


def _construct(message_name: str) -> Codec:
    model = _model(message_name)
    return Codec(lambda text: model.construct(**json.loads(text)), model.model_dump_json)


def _json_format_compact(message_name: str) -> Codec:
    return _json_format(message_name, indent=None)  # as compact as what the others write


def _json_format(message_name: str, indent: int | None = 2) -> Codec:
    message_type = message_factory.GetMessageClass(
        _mirror_pool().FindMessageTypeByName(f"{PACKAGE}.{message_name}")
    )
    return Codec(
        lambda text: json_format.Parse(text, message_type(), ignore_unknown_fields=True),
        lambda message: json_format.MessageToJson(
            message, preserving_proto_field_name=True, indent=indent
        ),
        message_type.SerializeToString,
        message_type.FromString,
    )


def _protobuf_py(message_name: str) -> Codec:
    importlib.import_module("protobuf_ext")  # the native extension; without it all is slower
    message_type = _protobuf_py_types()[message_name]
    return Codec(
        lambda text: message_type.from_json(text, ignore_unknown_fields=True),
        lambda message: message.to_json(use_proto_field_name=True),
        message_type.to_binary,
        message_type.from_binary,
    )


@cache
def _mirror_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    struct_file = FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct_file)
    for file in (struct_file, mirror_file()):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _protobuf_py_types() -> dict[str, Any]:
    # What its generated code calls to make its classes; measured, they are as fast.
    make = importlib.import_module("protobuf._codegen").file_desc
    struct = importlib.import_module("protobuf.wkt").Struct.desc().file
    file = make(mirror_file().SerializeToString(), [struct], {})
    return {message.name: message.type for message in file.messages}
