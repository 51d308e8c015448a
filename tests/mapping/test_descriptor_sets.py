"""Two descriptor sets are in the package: one for programs, and one with comments, for people."""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

COMPILED = "descriptor_set.binpb"
WITH_COMMENTS = "descriptor_set_with_comments.binpb"
MODELS = "chatpb.v1.ModelService"
OPTIONS = "google.protobuf.MethodOptions"


def read(name: str) -> dict[str, FileDescriptorProto]:
    data = (resources.files("chatpb.v1") / name).read_bytes()
    return {file.name: file for file in FileDescriptorSet.FromString(data).file}


def test_they_have_the_same_schema() -> None:
    """Except comments, and the annotations for gateways."""
    compiled, with_comments = read(COMPILED), read(WITH_COMMENTS)
    assert {
        "google/api/annotations.proto",
        "google/api/http.proto",
        "google/protobuf/any.proto",
        "google/protobuf/duration.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    } == with_comments.keys() - compiled.keys()
    for name, file in compiled.items():
        other = with_comments[name]
        assert other.source_code_info.location
        other.ClearField("source_code_info")
        for service in other.service:
            for method in service.method:
                method.options.DiscardUnknownFields()
                if not method.options.ByteSize():
                    method.ClearField("options")
        if "google/api/annotations.proto" in other.dependency:
            other.dependency.remove("google/api/annotations.proto")
        assert file == other


def test_annotations_have_the_paths_of_openai() -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in read(WITH_COMMENTS).values():
        pool.Add(file)
    http = pool.FindExtensionByName("google.api.http")
    names = ["google/protobuf/descriptor.proto", "google/api/annotations.proto"]
    options: Any = message_factory.GetMessageClassesForFiles(names, pool)[OPTIONS]
    services = map(pool.FindServiceByName, ("chatpb.v1.ChatCompletionService", MODELS))
    rules = {}
    for method in (method for service in services for method in service.methods):
        rule = options.FromString(method.GetOptions().SerializeToString()).Extensions[http]
        rules[method.name] = json_format.MessageToDict(rule)
    assert {
        "CreateChatCompletion": {"post": "/v1/chat/completions", "body": "*"},
        "StreamChatCompletion": {"post": "/v1/chat/completions:stream", "body": "*"},
        "ListModels": {"get": "/v1/models"},
        "GetModel": {"get": "/v1/models/{model=**}"},
    } == rules
