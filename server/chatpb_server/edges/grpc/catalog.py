"""The schema as reflection shows it: files with their comments, by what is declared in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha import reflection_pb2

_V1ALPHA: Final = "v1alpha"
_V1: Final = "v1"


class Catalog:
    """The files of some services, and of chatpb's schema, with what errors have as details.

    Args:
        services: The full names of the services, which the default pool has, or chatpb.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._files: dict[str, FileDescriptorProto] = {}
        self._serialized: dict[str, bytes] = {}
        self._symbols: dict[str, str] = {}
        self._extensions: dict[str, dict[int, str]] = {}
        schema = resources.files("chatpb.v1") / "descriptor_set_with_comments.binpb"
        for file in FileDescriptorSet.FromString(schema.read_bytes()).file:
            self._add(file)
        self._add(_reflection_v1())
        pool = descriptor_pool.Default()
        for name in services:
            if name not in self._symbols:
                self._add_from_pool(pool.FindServiceByName(name).file)

    def with_name(self, name: str) -> list[bytes]:
        """A file and all that it needs, each a FileDescriptorProto.

        Raises:
            KeyError: There is no such file.
        """
        needed = {name: self._files[name]}
        waiting = [name]
        while waiting:
            for other in self._files[waiting.pop()].dependency:
                if other not in needed:
                    needed[other] = self._files[other]
                    waiting.append(other)
        return [self._serialized[name] for name in needed]

    def with_symbol(self, name: str) -> list[bytes]:
        """The file that declares a symbol, and all that it needs.

        Raises:
            KeyError: There is no such symbol.
        """
        return self.with_name(self._symbols[name])

    def with_extension(self, extended: str, number: int) -> list[bytes]:
        """The file that declares an extension of a message, and all that it needs.

        Raises:
            KeyError: There is no such extension.
        """
        return self.with_name(self._extensions[extended][number])

    def extensions_of(self, extended: str) -> list[int]:
        """The numbers of all extensions of a message.

        Raises:
            KeyError: There is no such message.
        """
        if extended not in self._extensions and extended not in self._symbols:
            raise KeyError(extended)
        return sorted(self._extensions.get(extended, ()))

    def _add_from_pool(self, descriptor: Any) -> None:
        if descriptor.name in self._files:
            return
        self._add(FileDescriptorProto.FromString(descriptor.serialized_pb))
        for dependency in descriptor.dependencies:
            self._add_from_pool(dependency)

    def _add(self, file: FileDescriptorProto) -> None:
        self._files[file.name] = file
        self._serialized[file.name] = file.SerializeToString()
        for name in _declared(file):
            self._symbols.setdefault(name, file.name)
        for extension in _extensions(file):
            of_message = self._extensions.setdefault(extension.extendee.removeprefix("."), {})
            of_message[extension.number] = file.name


def _reflection_v1() -> FileDescriptorProto:
    """The file of the service's version v1, which has the same messages as v1alpha."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name = file.name.replace(_V1ALPHA, _V1)
    file.package = file.package.replace(_V1ALPHA, _V1)
    for message in file.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_V1ALPHA, _V1)
        method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    return file


def _declared(file: FileDescriptorProto) -> Iterator[str]:
    """The full names of all that a file declares."""
    package = file.package
    for message in file.message_type:
        yield from _of_message(_joined(package, message.name), message)
    for enum in file.enum_type:
        yield from _of_enum(package, enum)
    for extension in file.extension:
        yield _joined(package, extension.name)
    for service in file.service:
        name = _joined(package, service.name)
        yield name
        yield from (f"{name}.{method.name}" for method in service.method)


def _of_message(name: str, message: Any) -> Iterator[str]:
    yield name
    for part in (*message.field, *message.oneof_decl, *message.extension):
        yield f"{name}.{part.name}"
    for nested in message.nested_type:
        yield from _of_message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)


def _of_enum(scope: str, enum: Any) -> Iterator[str]:
    """A value is a sibling of its enum; some tools name it as a part of the enum."""
    name = _joined(scope, enum.name)
    yield name
    for value in enum.value:
        yield _joined(scope, value.name)
        yield f"{name}.{value.name}"


def _extensions(file: FileDescriptorProto) -> Iterator[Any]:
    yield from file.extension
    waiting: list[Any] = list(file.message_type)
    while waiting:
        message = waiting.pop()
        yield from message.extension
        waiting += message.nested_type


def _joined(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
