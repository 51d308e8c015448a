"""The services of the relay, for every protocol that brings calls of their rpcs."""

from __future__ import annotations

from typing import Any, Final

from chatpb._rpc.stored import SERVICE as STORED_SERVICE
from chatpb_server.core.call import Call
from chatpb_server.core.model_service import MODEL_SERVICE, ModelService
from chatpb_server.core.service import SERVICE, ChatCompletionService
from chatpb_server.core.stored import StoredChatCompletionService
from chatpb_server.edges.exchange import ChatExchange, Exchange
from chatpb_server.edges.models import GET, ModelsExchange
from chatpb_server.edges.stored import StoredExchange

#: Their descriptors.
DESCRIPTORS: Final = (SERVICE, MODEL_SERVICE, STORED_SERVICE)
NAMES: Final[tuple[str, ...]] = tuple(service.full_name for service in DESCRIPTORS)


class Services:
    """The services.

    Args:
        chat: The service of chat completions.
        models: The service of models.
        stored: The service of stored completions.

    Attributes:
        chat: The argument.
        models: The argument.
        stored: The argument.
    """

    def __init__(
        self,
        chat: ChatCompletionService,
        models: ModelService,
        stored: StoredChatCompletionService,
    ) -> None:
        self.chat = chat
        self.models = models
        self.stored = stored

    def exchange(self, method: Any, call: Call) -> Exchange:
        """Takes a call.

        Args:
            method: The descriptor of its rpc.
            call: The call.
        """
        if method.containing_service is MODEL_SERVICE:
            return ModelsExchange(self.models, call, is_for_one=method is GET)
        if method.containing_service is STORED_SERVICE:
            return StoredExchange(self.stored, call, method)
        return ChatExchange(self.chat, call, is_stream=method.server_streaming)
