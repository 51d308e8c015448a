"""Makes the schema that stubs are generated from: the one in this folder without Google's parts.

    python stub_sources.py WITH_COMMENTS OUTPUT

The annotations are for gateways, which read them from the descriptor set with comments. Generated
code with them would need a library for `google.api` in every language. `google.rpc` has what the
details of errors are, for tools that have nothing but the descriptor set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_PACKAGES = ("google.api", "google.rpc")
_FOLDER = "google/api/"


def main(with_comments: str, output: str) -> None:
    """Reads a descriptor set, and writes it without the annotations."""
    schema = FileDescriptorSet.FromString(Path(with_comments).read_bytes())
    files = [file for file in schema.file if file.package not in _PACKAGES]
    for file in files:
        _strip(file)
    Path(output).write_bytes(FileDescriptorSet(file=files).SerializeToString(deterministic=True))


def _strip(file: FileDescriptorProto) -> None:
    kept = [name for name in file.dependency if not name.startswith(_FOLDER)]
    del file.dependency[:]
    file.dependency.extend(kept)
    for service in file.service:
        for method in service.method:
            method.options.DiscardUnknownFields()  # methods have no other custom options
            if not method.options.ByteSize():
                method.ClearField("options")
    fields = list(file.extension)
    messages = list(file.message_type)
    while messages:
        message = messages.pop()
        fields += (*message.field, *message.extension)
        messages += message.nested_type
    for field in fields:
        field.ClearField("json_name")  # none is in the sources; protoc would add it to the stubs


if __name__ == "__main__":
    main(*sys.argv[1:])
