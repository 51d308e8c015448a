"""The calls for stored completions, of both clients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from chatpb._errors import ArgumentValueError
from chatpb._mapping.schema import enum_words
from chatpb._rpc.metadata import Metadata
from chatpb._rpc.stored import DELETE, GET, LIST, MESSAGES, UPDATE
from chatpb.client._shared import unreadable
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.stored_chat_completion_pb2 import (
    ChatCompletionDeleted,
    ChatCompletionList,
    ChatCompletionStoreMessageList,
    ChatCompletionUpdate,
)
from chatpb.v1.stored_chat_completion_service_pb2 import (
    DeleteStoredChatCompletionRequest,
    GetStoredChatCompletionRequest,
    ListStoredChatCompletionMessagesRequest,
    ListStoredChatCompletionsRequest,
    SortOrder,
    UpdateStoredChatCompletionMetadataRequest,
)

_T = TypeVar("_T")
Order = Literal["asc", "desc"]


class StoredCalls(ABC):
    """The calls without asyncio."""

    def get_stored(
        self, completion_id: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a stored completion, as `AsyncClient.get_stored` does."""
        return _contents(
            ChatCompletion, self._stored(GET, _get_request(completion_id), timeout, metadata)
        )

    def list_stored(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        model: str | None = None,
        having: Mapping[str, str] | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletionList:
        """Asks for a page of stored completions, as `AsyncClient.list_stored` does."""
        request = _list_request(after, limit, order, model, having)
        return _contents(ChatCompletionList, self._stored(LIST, request, timeout, metadata))

    def update_stored(
        self,
        completion_id: str,
        pairs: Mapping[str, str] | None,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        """Replaces the metadata of a stored completion, as `AsyncClient.update_stored` does."""
        request = _update_request(completion_id, pairs)
        return _contents(ChatCompletion, self._stored(UPDATE, request, timeout, metadata))

    def delete_stored(
        self, completion_id: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletionDeleted:
        """Deletes a stored completion, as `AsyncClient.delete_stored` does."""
        request = DeleteStoredChatCompletionRequest(completion_id=completion_id)
        return _contents(ChatCompletionDeleted, self._stored(DELETE, request, timeout, metadata))

    def list_stored_messages(
        self,
        completion_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletionStoreMessageList:
        """Asks for a page of messages, as `AsyncClient.list_stored_messages` does."""
        request = _messages_request(completion_id, after, limit, order)
        return _contents(
            ChatCompletionStoreMessageList, self._stored(MESSAGES, request, timeout, metadata)
        )

    @abstractmethod
    def _stored(self, method: Any, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        """The response of an rpc."""


class AsyncStoredCalls(ABC):
    """The calls for asyncio."""

    async def get_stored(
        self, completion_id: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletion:
        """Asks for a stored completion, with the parameters of its request.

        Args:
            completion_id: Its identifier.
            timeout: As for `list_models`.
            metadata: As for `list_models`.

        Raises:
            ChatCompletionError: The call failed: NOT_FOUND if there is no such completion, or if
                the server stores none; UNIMPLEMENTED if it is too old.
            ValueError: As for `list_models`.
            TypeError: As for `list_models`.
            RuntimeError: As for `list_models`.
        """
        request = _get_request(completion_id)
        return _contents(ChatCompletion, await self._stored(GET, request, timeout, metadata))

    async def list_stored(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        model: str | None = None,
        having: Mapping[str, str] | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletionList:
        """Asks for a page of stored completions.

        A page can have fewer completions than `limit`, if they are large. If `has_more` is set, the
        next page begins after `last_id`.

        Args:
            after: The identifier of the completion after which the page begins. None: it begins
                with the first.
            limit: The most completions of the page, up to 100. None: 20.
            order: ``asc`` or ``desc``. None: the oldest first.
            model: The model that answered. None: any.
            having: Keys and values that the metadata of each has. None: any metadata.
            timeout: As for `list_models`.
            metadata: Sent with the call, as for `list_models`.

        Raises:
            ChatCompletionError: The call failed, as for `get_stored`.
            ValueError: As for `list_models`, or the order is another word.
            TypeError: As for `list_models`.
            RuntimeError: As for `list_models`.
        """
        request = _list_request(after, limit, order, model, having)
        return _contents(ChatCompletionList, await self._stored(LIST, request, timeout, metadata))

    async def update_stored(
        self,
        completion_id: str,
        pairs: Mapping[str, str] | None,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        """Replaces the metadata of a stored completion.

        Args:
            completion_id: Its identifier.
            pairs: The keys and values. None: no metadata.
            timeout: As for `list_models`.
            metadata: Sent with the call, as for `list_models`.

        Returns:
            The completion.

        Raises:
            ChatCompletionError: The call failed, as for `get_stored`.
            ValueError: As for `list_models`.
            TypeError: As for `list_models`.
            RuntimeError: As for `list_models`.
        """
        request = _update_request(completion_id, pairs)
        return _contents(ChatCompletion, await self._stored(UPDATE, request, timeout, metadata))

    async def delete_stored(
        self, completion_id: str, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> ChatCompletionDeleted:
        """Deletes a stored completion. The arguments and errors are those of `get_stored`."""
        request = DeleteStoredChatCompletionRequest(completion_id=completion_id)
        return _contents(
            ChatCompletionDeleted, await self._stored(DELETE, request, timeout, metadata)
        )

    async def list_stored_messages(
        self,
        completion_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletionStoreMessageList:
        """Asks for a page of the messages that a stored completion answers.

        The other arguments and the errors are those of `list_stored`.

        Args:
            completion_id: The identifier of the completion.
            after: The identifier of the message after which the page begins. None: it begins with
                the first.
            limit: The most messages of the page, up to 100. None: 20.
            order: ``asc`` or ``desc``. None: the order of the conversation.
            timeout: As for `list_models`.
            metadata: As for `list_models`.
        """
        request = _messages_request(completion_id, after, limit, order)
        return _contents(
            ChatCompletionStoreMessageList, await self._stored(MESSAGES, request, timeout, metadata)
        )

    @abstractmethod
    async def _stored(
        self, method: Any, request: Any, timeout: float | None, metadata: Metadata
    ) -> Any:
        """The response of an rpc."""


def _get_request(completion_id: str) -> GetStoredChatCompletionRequest:
    """The message that asks for a completion."""
    return GetStoredChatCompletionRequest(completion_id=completion_id)


def _list_request(
    after: str | None,
    limit: int | None,
    order: str | None,
    model: str | None,
    having: Mapping[str, str] | None,
) -> ListStoredChatCompletionsRequest:
    """The message that asks for a page of completions."""
    return ListStoredChatCompletionsRequest(
        after=after, limit=limit, order=_order(order), model=model, metadata=having
    )


def _update_request(
    completion_id: str, pairs: Mapping[str, str] | None
) -> UpdateStoredChatCompletionMetadataRequest:
    """The message that asks for other metadata."""
    update = ChatCompletionUpdate(metadata=pairs)
    return UpdateStoredChatCompletionMetadataRequest(completion_id=completion_id, update=update)


def _messages_request(
    completion_id: str, after: str | None, limit: int | None, order: str | None
) -> ListStoredChatCompletionMessagesRequest:
    """The message that asks for a page of messages."""
    return ListStoredChatCompletionMessagesRequest(
        completion_id=completion_id, after=after, limit=limit, order=_order(order)
    )


def _order(word: str | None) -> SortOrder.ValueType | None:
    if word is None:
        return None
    numbers = enum_words(SortOrder.DESCRIPTOR).numbers
    if word not in numbers:
        raise ArgumentValueError(f"expected the order {' or '.join(numbers)}, got {word!r}")
    return cast("SortOrder.ValueType", numbers[word])


def _contents(kind: type[_T], response: Any) -> _T:
    """What a response contains, which gRPC gives as None if it cannot be parsed."""
    if response is None:
        raise unreadable()
    [field] = response.DESCRIPTOR.fields
    found = getattr(response, field.name)
    assert isinstance(found, kind)
    return found
