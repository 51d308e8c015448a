"""Reflection: tools ask which services there are, and for the schema, comments included.

Two versions of the service are in use, v1 and v1alpha, with the same messages. What grpcio's own
servicer finds are messages and services, not their methods, and it knows no comments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

from chatpb_server.edges.grpc.catalog import Catalog

V1: Final = "grpc.reflection.v1.ServerReflection"
V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
SERVICE_NAMES: Final = (V1, V1ALPHA)
METHOD: Final = "ServerReflectionInfo"


class Reflection:
    """Answers for both versions.

    Args:
        services: The names of the services that it shows, itself included.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted(services)
        self._catalog: asyncio.Future[Catalog] | None = None

    def handler(self) -> Any:
        """The handler of the rpc."""
        return grpc.stream_stream_rpc_method_handler(
            self._answers,
            request_deserializer=ServerReflectionRequest.FromString,
            response_serializer=ServerReflectionResponse.SerializeToString,
        )

    async def _answers(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        if self._catalog is None:  # few relays are asked, so it is made for the first who asks
            loop = asyncio.get_running_loop()
            self._catalog = loop.run_in_executor(None, Catalog, self._services)
        catalog = await asyncio.shield(self._catalog)
        async for request in requests:
            response = ServerReflectionResponse(valid_host=request.host, original_request=request)
            try:
                self._answer(catalog, request, response)
            except KeyError:
                _fail(response, grpc.StatusCode.NOT_FOUND)
            yield response

    def _answer(self, catalog: Catalog, request: Any, response: Any) -> None:
        """Answers one request.

        Raises:
            KeyError: What it asks for does not exist.
        """
        match request.WhichOneof("message_request"):
            case "list_services":
                services = [ServiceResponse(name=name) for name in self._services]
                response.list_services_response.service.extend(services)
            case "file_by_filename":
                _give(response, catalog.with_name(request.file_by_filename))
            case "file_containing_symbol":
                _give(response, catalog.with_symbol(request.file_containing_symbol))
            case "file_containing_extension":
                asked = request.file_containing_extension
                found = catalog.with_extension(asked.containing_type, asked.extension_number)
                _give(response, found)
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                numbers = response.all_extension_numbers_response
                numbers.extension_number.extend(catalog.extensions_of(name))
                numbers.base_type_name = name
            case _:
                _fail(response, grpc.StatusCode.INVALID_ARGUMENT)


def _give(response: Any, files: list[bytes]) -> None:
    response.file_descriptor_response.file_descriptor_proto.extend(files)


def _fail(response: Any, code: grpc.StatusCode) -> None:
    number, text = code.value
    response.error_response.error_code = number
    response.error_response.error_message = text
