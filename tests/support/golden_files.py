"""Writes the golden files: descriptors, columns, rows, and what vectors give.

Run it as ``make golden``, and review the difference: golden
files freeze what users have stored and deployed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from chatpb import from_json, json_to_binary, v1
from chatpb._mapping.canonical import canonical
from chatpb.v1 import Residue
from support import field_assertions, invalid_vectors, stream_vectors

RENEW = (
    "if the change is meant, renew the golden files with `make golden` and review the difference"
)

_HERE = Path(__file__).parents[1]
DESCRIPTORS = _HERE / "golden" / "descriptors.txt"
COLUMNS = _HERE / "golden" / "columns.txt"
ROWS = _HERE / "golden" / "rows.jsonl"
VECTORS = _HERE / "vectors"
BINARY_VECTORS = VECTORS / "binary"

_TYPES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


@dataclass(frozen=True)
class Vector:
    """A JSON text and its message, as the manifest lists them.

    Attributes:
        name: The name of its files, without their endings.
        message_type: The class of the message.
        purpose: What it shows.
        residue: Whether the message has residues: False means that typed fields hold everything.
    """

    name: str
    message_type: type[Message]
    purpose: str
    residue: bool

    @property
    def json(self) -> bytes:
        """The JSON text, which is written by hand."""
        return (VECTORS / f"{self.name}.json").read_bytes()

    @property
    def binary(self) -> bytes:
        """The binary form of the message."""
        return (VECTORS / f"{self.name}.binpb").read_bytes()

    @property
    def text(self) -> str:
        """The message in protobuf's text format: what each field holds."""
        return (VECTORS / f"{self.name}.txtpb").read_text("utf-8")


@dataclass(frozen=True)
class BinaryVector:
    """Bytes and the result of parsing them, as `binary/manifest.json` lists them.

    Attributes:
        name: The name of its files, without their endings.
        message_type: The class of the message.
        purpose: What it shows.
        source: The bytes in hexadecimal, or the message in text format.
        is_hex: Which of them.
        is_valid: Whether a parser accepts the bytes.
        has_unknown_fields: Whether there are fields that the schema does not know.
    """

    name: str
    message_type: type[Message]
    purpose: str
    source: str
    is_hex: bool
    is_valid: bool
    has_unknown_fields: bool

    @property
    def binary(self) -> bytes:
        """The bytes."""
        if self.is_hex:
            return bytes.fromhex(self.source)
        return serialized(text_format.Parse(self.source, self.message_type()))

    @property
    def message(self) -> Message:
        """The message that a parser finds."""
        return self.message_type.FromString(self.binary)


def binary_vectors() -> list[BinaryVector]:
    """The vectors that are bytes."""
    manifest: list[dict[str, Any]] = json.loads((BINARY_VECTORS / "manifest.json").read_bytes())
    return [
        BinaryVector(
            entry["name"],
            message_class(entry["message_type"]),
            entry["purpose"],
            entry["hex"] if "hex" in entry else entry["text"],
            "hex" in entry,
            not entry.get("invalid", False),
            entry.get("unknown_fields", False),
        )
        for entry in manifest
    ]


def serialized(message: Message) -> bytes:
    """The canonical bytes of a message."""
    if message.DESCRIPTOR.file.name not in (*WITHOUT_JSON, Residue.DESCRIPTOR.file.name):
        return canonical(message)  # upb has another order for keys that begin with another key
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def vectors() -> list[Vector]:
    """The vectors of the manifest."""
    manifest: list[dict[str, Any]] = json.loads((VECTORS / "manifest.json").read_bytes())
    return [
        Vector(
            entry["name"],
            message_class(entry["message_type"]),
            entry["purpose"],
            entry.get("residue", True),
        )
        for entry in manifest
    ]


def message_class(full_name: str) -> type[Message]:
    """The generated class of a message type of chatpb.v1."""
    found: type[Message] = getattr(v1, full_name.removeprefix("chatpb.v1."))
    return found


def text_of(message: Message) -> str:
    """A message in protobuf's text format, with comments that name its type, for tools."""
    file, name = message.DESCRIPTOR.file.name, message.DESCRIPTOR.full_name
    body = text_format.MessageToString(message, as_utf8=True)
    return f"# proto-file: {file}\n# proto-message: {name}\n\n{body}"


def files() -> list[FileDescriptor]:
    """The files of the schema."""
    names = (module.name for module in pkgutil.iter_modules(v1.__path__))
    return [
        importlib.import_module(f"chatpb.v1.{name}").DESCRIPTOR
        for name in sorted(names)
        if name.endswith("_pb2")
    ]


#: The files whose messages have no JSON form: those of the services and of storage.
WITHOUT_JSON = (
    "chatpb/v1/chat_completion_service.proto",
    "chatpb/v1/completion_record.proto",
    "chatpb/v1/model_service.proto",
    "chatpb/v1/stored_chat_completion_service.proto",
)


def messages() -> list[Descriptor]:
    """The message types of the schema, except those of map entries."""
    return [message for file in files() for message in file.message_types_by_name.values()]


def enums() -> list[EnumDescriptor]:
    """The enums of the schema."""
    return [enum for file in files() for enum in file.enum_types_by_name.values()]


def descriptor_lines() -> list[str]:
    """All facts of the schema, one on each line, in an order independent of the files."""
    blocks = [
        *map(_message, messages()),
        *map(_enum, enums()),
        *(_service(service) for file in files() for service in file.services_by_name.values()),
        *(_extensions(file) for file in files() if file.extensions_by_name),
    ]
    return [line for block in sorted(blocks) for line in (*block, "")][:-1]


def _message(message: Descriptor) -> list[str]:
    return [
        f"message {message.full_name}{_options(message)}",
        *map(_field, sorted(message.fields, key=lambda field: field.number)),
        "  order of JSON members: " + " ".join(field.name for field in message.fields),
    ]


def _field(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    is_optional = oneof is not None and oneof.name == f"_{field.name}"  # protoc's own spelling
    label = "optional " if is_optional else ""
    if field.is_repeated and not is_map(field):
        label = "repeated "
    where = f" in oneof {oneof.name}" if oneof is not None and not is_optional else ""
    return f"  {field.number} {field.name}: {label}{_type(field)}{where}{_options(field)}"


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map, which is a list of entries on the wire."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _type(field: FieldDescriptor) -> str:
    if is_map(field) and field.message_type is not None:
        key, value = (field.message_type.fields_by_number[number] for number in (1, 2))
        return f"map<{_type(key)}, {_type(value)}>"
    of = field.message_type or field.enum_type
    return of.full_name if of is not None else _TYPES[field.type]


def _options(descriptor: Descriptor | FieldDescriptor) -> str:
    options = sorted(
        f"{option.name} = {_option_value(option, value)}"
        for option, value in descriptor.GetOptions().ListFields()
    )
    return f" [{', '.join(options)}]" if options else ""


def _option_value(option: FieldDescriptor, value: Any) -> str:
    if option.is_repeated:
        return json.dumps(list(value))
    enum = option.enum_type
    return json.dumps(value) if enum is None else enum.values_by_number[value].name


def _enum(enum: EnumDescriptor) -> list[str]:
    values = sorted((value.number, value.name) for value in enum.values)
    return [f"enum {enum.full_name}", *(f"  {number} {name}" for number, name in values)]


def _service(service: Any) -> list[str]:
    return [
        f"service {service.full_name}",
        *sorted(
            f"  rpc {method.name}({'stream ' * method.client_streaming}"
            f"{method.input_type.full_name})"
            f" returns ({'stream ' * method.server_streaming}{method.output_type.full_name})"
            for method in service.methods
        ),
    ]


def _extensions(file: FileDescriptor) -> list[str]:
    found: Iterable[FieldDescriptor] = file.extensions_by_name.values()
    return [
        f"extensions of {file.package}",
        *(
            f"  {_owner(extension)} {_field(extension).strip()}"
            for extension in sorted(found, key=lambda field: (_owner(field), field.number))
        ),
    ]


def _owner(field: FieldDescriptor) -> str:
    return field.containing_type.full_name if field.containing_type is not None else ""


def column_lines() -> list[str]:
    """The columns of a table, one on each line, and after a list of structs their fields."""
    from chatpb.table._rows.columns import SCHEMA  # needs the extra `table`

    return list(_field_lines(SCHEMA, ""))


def row_lines() -> list[str]:
    """Records and their rows in a table, as JSON, one on each line."""
    from support import golden_rows  # needs the extra `table`

    return list(golden_rows.row_lines())


def _field_lines(fields: Iterable[Any], indent: str) -> Iterator[str]:
    import pyarrow as pa  # needs the extra `table`

    for field in fields:
        if pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
            yield f"{indent}{field.name}: list<struct>"
            yield from _field_lines(field.type.value_type, f"{indent}    ")
        else:
            yield f"{indent}{field.name}: {field.type}"


def golden() -> Iterator[tuple[Path, bytes]]:
    """Every golden file and its expected content."""
    yield DESCRIPTORS, lines_to_bytes(descriptor_lines())
    yield COLUMNS, lines_to_bytes(column_lines())
    yield ROWS, lines_to_bytes(row_lines())
    for vector in vectors():
        message = from_json(vector.json, vector.message_type)
        yield VECTORS / f"{vector.name}.binpb", json_to_binary(vector.json, vector.message_type)
        yield VECTORS / f"{vector.name}.txtpb", text_of(message).encode()
        yield VECTORS / f"{vector.name}.fields.json", field_assertions.to_lines(message)
    for case in binary_vectors():
        yield BINARY_VECTORS / f"{case.name}.binpb", case.binary
        if case.is_valid:
            message = case.message
            yield BINARY_VECTORS / f"{case.name}.fields.json", field_assertions.to_lines(message)
            yield BINARY_VECTORS / f"{case.name}.canonical.binpb", serialized(message)
    yield from invalid_vectors.golden()
    yield from stream_vectors.golden()


def lines_to_bytes(lines: Sequence[str]) -> bytes:
    """The text of a file of lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def main() -> None:
    """Writes the files that differ, and removes those whose vector no longer exists."""
    wanted = dict(golden())
    endings = ("*.binpb", "*.binpbs", "*.txtpb", "*.fields.json")
    folders = (VECTORS, BINARY_VECTORS, stream_vectors.STREAMS)
    found = {path for folder in folders for ending in endings for path in folder.glob(ending)}
    for stale in found - wanted.keys():
        stale.unlink()
        print(f"removed {stale.relative_to(_HERE)}")
    for path, content in wanted.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            print(f"wrote {path.relative_to(_HERE)}")


if __name__ == "__main__":
    main()
