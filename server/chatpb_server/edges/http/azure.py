"""The paths of Azure's API, which its clients use, and the model that a path names there."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote

from chatpb._wire import embedded, without
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb_server.core.offload import stepwise
from chatpb_server.core.upstream import RequestBody

_DEPLOYMENTS: Final = "/openai/deployments/"
#: The paths that OpenAI has too, without ``/openai``.
_ELSEWHERE: Final = ("/openai/v1/", "/openai/models/", "/openai/chat/completions/")
_VERSION: Final = "api-version"
_CHAT: Final = "/chat/completions"
_MODEL: Final = ChatCompletionRequest.MODEL_FIELD_NUMBER


class Place(NamedTuple):
    """What a path asks for.

    Attributes:
        path: The path as OpenAI has it, without ``/v1`` and without ``/`` at its end.
        deployment: The model that it names; empty if it names none.
    """

    path: str
    deployment: str = ""


def place_of(path: str) -> Place:
    """What a path asks for, if it is OpenAI's or Azure's.

    Azure has ``/openai/v1/...``, and before ``/openai/deployments/NAME/chat/completions``,
    ``/openai/models``, and for stored completions ``/openai/chat/completions``. Its other paths
    stay as they are.
    """
    path = path.rstrip("/")
    if path.startswith(_DEPLOYMENTS) and path.endswith(_CHAT):
        name = path[len(_DEPLOYMENTS) : -len(_CHAT)]
        if name and "/" not in name:
            return Place(_CHAT, unquote(name))
    elif f"{path}/".startswith(_ELSEWHERE):
        path = path.removeprefix("/openai")
    return Place(path.removeprefix("/v1"))


def without_version(query: str) -> str:
    """The query of such a path without the version of Azure's API, which the path belongs to."""
    return "&".join(
        each for each in query.split("&") if unquote(each.partition("=")[0]) != _VERSION
    )


async def with_model(body: bytes, model: str) -> bytes:
    """A request for another model: Azure answers with that of the path, whatever the body names.

    Args:
        body: The request, in JSON. What it becomes is equal to it, but not byte for byte.
        model: The model.

    Raises:
        RequestError: It cannot be read.
    """
    binary = await RequestBody(text=body).binary()
    binary = await stepwise(len(binary), _with_model, binary, model.encode())
    return await RequestBody(binary=binary).text()


def _with_model(binary: bytes, model: bytes) -> bytes:
    return b"".join((without(binary, _MODEL), embedded(_MODEL, (model,))))
