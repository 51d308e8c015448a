"""The service that tells which models there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chatpb.v1.model_service_pb2 import DESCRIPTOR
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.headers import PassedOn
from chatpb_server.core.models import ListedModel, ModelsRequest, models_of

MODEL_SERVICE: Final = DESCRIPTOR.services_by_name["ModelService"]


class ModelService:
    """The service, answered by an upstream.

    Callers share what upstreams list, so their trace contexts do not go on.

    Args:
        upstream: What lists its models, if it can.
        passed_on: As for `ChatCompletionService`.

    Attributes:
        upstream: The argument, which can be changed.
        passed_on: The same.
    """

    def __init__(self, upstream: object, passed_on: PassedOn | None = None) -> None:
        self.upstream = upstream
        self.passed_on = passed_on or PassedOn()

    async def list(self, call: Call) -> Sequence[ListedModel]:
        """All models."""
        return await models_of(self.upstream, self._request(call, None))

    async def get(self, call: Call, name: str) -> ListedModel:
        """One model.

        Raises:
            RefusalError: It does not exist.
        """
        if not name:
            raise RefusalError(400, "you must provide a model", param="model")
        listed = await models_of(self.upstream, self._request(call, name))
        if found := next((model for model in listed if model.id == name), None):
            return found
        raise RefusalError(404, f"The model '{name}' does not exist", "model_not_found", "model")

    def _request(self, call: Call, wanted: str | None) -> ModelsRequest:
        headers = self.passed_on.of(call.metadata)
        return ModelsRequest(wanted, headers, call.query, call.deadline)
