"""From the lists of models that servers send to models in binary form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chatpb import ConversionError
from chatpb._wire import WireError, part, spans
from chatpb.v1.model_pb2 import Model, ModelList
from chatpb_server.core.models import ListedModel
from chatpb_server.core.offload import apart, json_to_binary, stepwise
from chatpb_server.core.reading import has_error
from chatpb_server.core.upstream import NO_HEADERS, UpstreamDataError
from chatpb_server.upstreams.events import error_of, without_blanks

#: The most bytes and the most models of one list.
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_MODELS: Final = 10_000

_DATA: Final = ModelList.DATA_FIELD_NUMBER
_NOT_A_LIST: Final = "could not be read: not a list of models"


async def models_in_text(
    text: bytes, headers: Mapping[str, str] = NO_HEADERS
) -> tuple[ListedModel, ...]:
    """The models in the JSON of a list.

    Args:
        text: OpenAI's object, or an array of models alone, as Together AI sends it.
        headers: The HTTP headers of the answer.

    Raises:
        UpstreamError: It is an error.
        UpstreamDataError: It cannot be read.
    """
    bare = without_blanks(text)
    listed = b'{"data":%s}' % bare if bare.startswith(b"[") else text
    try:
        binary = await json_to_binary(listed, ModelList, allow_nan=True)
    except ConversionError as error:
        raise UpstreamDataError(_NOT_A_LIST, headers) from error
    models = await models_in(binary, headers)
    if not models and _has_no_list(binary):
        if await apart(len(text), has_error, text):
            raise await error_of(200, text, headers)
        raise UpstreamDataError(_NOT_A_LIST, headers)
    return models


async def models_in(
    binary: bytes, headers: Mapping[str, str] = NO_HEADERS
) -> tuple[ListedModel, ...]:
    """The models in a ModelList, each once. Those without a name are left out.

    Args:
        binary: Its binary form.
        headers: The HTTP headers of the answer.

    Raises:
        UpstreamDataError: It cannot be read, or is too long.
    """
    try:
        models = await stepwise(len(binary), _models_in, binary)
    except (WireError, ValueError) as error:
        raise UpstreamDataError(_NOT_A_LIST, headers) from error
    if len(models) > MAX_MODELS:
        raise UpstreamDataError(f"could not be read: more than {MAX_MODELS} models", headers)
    return models


def _models_in(binary: bytes) -> tuple[ListedModel, ...]:
    found: dict[str, ListedModel] = {}
    for span in spans(binary):
        if span.number == _DATA and len(found) <= MAX_MODELS:
            model = part(binary, span.value, span.end)
            name = _name_of(model)
            if name and name not in found:
                found[name] = ListedModel(name, model)
    return tuple(found.values())


def _name_of(model: bytes) -> str:
    name = b""
    for span in spans(model):
        if span.number == Model.ID_FIELD_NUMBER:
            name = model[span.value : span.end]
    return name.decode()


def _has_no_list(binary: bytes) -> bool:
    """Whether a ModelList without models was read from JSON without a list of models."""
    residue = ModelList.FromString(binary).residue
    return _DATA in (*residue.absent_fields, *residue.null_fields) or '"data"' in residue.extra_json
