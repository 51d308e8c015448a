"""Reflection, in both versions: what tools such as grpcurl and ghz look up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode, aio
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from chatpb_server.edges.grpc.catalog import Catalog
from chatpb_server.running.serving import serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

both = pytest.mark.parametrize("version", [V1, V1ALPHA])


async def ask(version: str, *requests: ServerReflectionRequest) -> list[Any]:
    """The answers to some requests, in one call."""
    async with (
        serving(BuiltinUpstream()) as port,
        aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel,
    ):
        rpc: Any = channel.stream_stream(
            f"/{version}/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        return [answer async for answer in rpc(iter(requests), timeout=TIMEOUT)]


def parsed(files: Sequence[bytes]) -> list[FileDescriptorProto]:
    return [FileDescriptorProto.FromString(file) for file in files]


@both
async def test_all_services_are_listed_and_can_be_described(version: str) -> None:
    [listed] = await ask(version, ServerReflectionRequest(list_services=""))
    names = [service.name for service in listed.list_services_response.service]
    assert {
        "chatpb.v1.ChatCompletionService",
        "chatpb.v1.ModelService",
        "chatpb.v1.StoredChatCompletionService",
        "grpc.health.v1.Health",
        V1,
        V1ALPHA,
    } <= set(names)
    answers = await ask(
        version, *(ServerReflectionRequest(file_containing_symbol=name) for name in names)
    )
    for name, answer in zip(names, answers, strict=True):
        files = DescriptorDatabase()
        for file in parsed(answer.file_descriptor_response.file_descriptor_proto):
            files.Add(file)
        assert DescriptorPool(files).FindServiceByName(name).methods


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("chatpb.v1.ChatCompletionService", "chat_completion_service"),
        ("chatpb.v1.ChatCompletionService.CreateChatCompletion", "chat_completion_service"),
        ("chatpb.v1.ChatCompletionService.StreamChatCompletion", "chat_completion_service"),
        ("chatpb.v1.ChatCompletion", "chat_completion"),
        ("chatpb.v1.ChatCompletion.choices", "chat_completion"),
        ("chatpb.v1.ChatCompletionRequest.MetadataEntry", "chat_completion_request"),
        ("chatpb.v1.ChatCompletionRequest.MetadataEntry.key", "chat_completion_request"),
        ("chatpb.v1.FinishReason", "finish_reason"),
        ("chatpb.v1.FINISH_REASON_STOP", "finish_reason"),
        ("chatpb.v1.FinishReason.FINISH_REASON_STOP", "finish_reason"),
        ("chatpb.v1.json_unset", "options"),
        ("chatpb.v1.CompletionRecord", "completion_record"),
        ("google.api.http", "google/api/annotations"),
        ("google.rpc.RetryInfo", "google/rpc/error_details"),
    ],
)
def test_symbols(symbol: str, file: str) -> None:
    name = file if "/" in file else f"chatpb/v1/{file}"
    first, *_ = parsed(Catalog(["chatpb.v1.ChatCompletionService"]).with_symbol(symbol))
    assert f"{name}.proto" == first.name


@both
async def test_files_extensions_and_comments(version: str) -> None:
    named = ServerReflectionRequest(file_by_filename="chatpb/v1/chat_completion.proto")
    numbers = ServerReflectionRequest(all_extension_numbers_of_type="google.protobuf.MethodOptions")
    none = ServerReflectionRequest(all_extension_numbers_of_type="chatpb.v1.ChatCompletion")
    extension = ServerReflectionRequest()
    extension.file_containing_extension.containing_type = "google.protobuf.MethodOptions"
    extension.file_containing_extension.extension_number = 72295728
    by_name, of_type, empty, found = await ask(version, named, numbers, none, extension)
    first, *others = parsed(by_name.file_descriptor_response.file_descriptor_proto)
    comments = {place.leading_comments.strip() for place in first.source_code_info.location}
    assert any(text.startswith("ChatCompletion is ") for text in comments)
    names = {other.name for other in others}
    assert set(first.dependency) <= names
    assert ([72295728], "google.protobuf.MethodOptions") == (
        list(of_type.all_extension_numbers_response.extension_number),
        of_type.all_extension_numbers_response.base_type_name,
    )
    assert [] == list(empty.all_extension_numbers_response.extension_number)
    files = parsed(found.file_descriptor_response.file_descriptor_proto)
    assert "google/api/annotations.proto" == files[0].name


@both
async def test_what_does_not_exist(version: str) -> None:
    """The call goes on."""
    extension = ServerReflectionRequest()
    extension.file_containing_extension.containing_type = "chatpb.v1.ChatCompletion"
    requests = [
        ServerReflectionRequest(host="h", file_by_filename="x.proto"),
        ServerReflectionRequest(file_containing_symbol="chatpb.v1.X"),
        ServerReflectionRequest(file_containing_symbol="chatpb.v1"),
        ServerReflectionRequest(file_containing_symbol=""),
        ServerReflectionRequest(all_extension_numbers_of_type="chatpb.v1.X"),
        extension,
    ]
    *answers, last = await ask(version, *requests, ServerReflectionRequest())
    assert requests == [answer.original_request for answer in answers]
    assert "h" == answers[0].valid_host
    not_found, invalid = StatusCode.NOT_FOUND.value[0], StatusCode.INVALID_ARGUMENT.value[0]
    assert {not_found} == {answer.error_response.error_code for answer in answers}
    assert invalid == last.error_response.error_code
