"""Calls that ask for models: what they ask, and the messages and the JSON of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from chatpb import ConversionError
from chatpb._wire import WireError, embedded
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb.v1.model_service_pb2 import (
    GetModelRequest,
    GetModelResponse,
    ListModelsResponse,
)
from chatpb_server.core.call import Call
from chatpb_server.core.model_service import MODEL_SERVICE, ModelService
from chatpb_server.core.models import ListedModel
from chatpb_server.core.offload import json_text, stepwise
from chatpb_server.core.service import Begin
from chatpb_server.core.upstream import RequestError, UpstreamDataError
from chatpb_server.edges.exchange import Write

GET: Final = MODEL_SERVICE.methods_by_name["GetModel"]
_DATA: Final = ModelList.DATA_FIELD_NUMBER
_MODELS: Final = ListModelsResponse.MODELS_FIELD_NUMBER
_MODEL: Final = GetModelResponse.MODEL_FIELD_NUMBER
#: The most bytes of a request, and of the name of a model.
_MOST_BYTES: Final = 4096


class ModelsExchange:
    """A call of the service of models, as an `Exchange`.

    Args:
        service: What answers.
        call: The call.
        is_for_one: Whether it asks for one model.
    """

    def __init__(self, service: ModelService, call: Call, *, is_for_one: bool) -> None:
        self._service = service
        self._call = call
        self._is_for_one = is_for_one
        self._name = ""

    async def asked(self, data: bytes) -> None:
        """See `Exchange`."""
        if len(data) > _MOST_BYTES:
            raise RequestError(f"The request has more than {_MOST_BYTES} bytes.")
        if self._is_for_one:
            self._name = _name_in(data)

    async def answer(self, begin: Begin, write: Write) -> None:  # noqa: ARG002 (not a stream)
        """See `Exchange`."""
        if self._is_for_one:
            model = await self._service.get(self._call, self._name)
            await write(embedded(_MODEL, (model.binary,)))
            return
        models = await self._service.list(self._call)
        await write(embedded(_MODELS, (await _list_of(models),)))


async def list_json(service: ModelService, call: Call) -> bytes:
    """The JSON of all models."""
    return await _json(await _list_of(await service.list(call)), ModelList)


async def model_json(service: ModelService, call: Call, name: str) -> bytes:
    """The JSON of one model."""
    return await _json((await service.get(call, name)).binary, Model)


def _name_in(data: bytes) -> str:
    try:
        return GetModelRequest.FromString(data).model
    except DecodeError as error:
        raise RequestError("The request is not the binary form of a message.") from error


async def _list_of(models: Sequence[ListedModel]) -> bytes:
    """The binary form of a ModelList."""
    size = sum(len(model.binary) for model in models)
    return await stepwise(size, embedded, _DATA, [model.binary for model in models])


async def _json(binary: bytes, message_type: type[Model | ModelList]) -> bytes:
    try:
        return await json_text(binary, message_type)
    except (ConversionError, WireError) as error:
        raise UpstreamDataError("could not be read: not a model") from error
