"""The service of stored completions: those of a store, or of another relay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeGuard, runtime_checkable

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from chatpb._rpc.deadline import seconds_until
from chatpb._rpc.stored import NO_STORE, contents_of, path_of
from chatpb._wire import embedded
from chatpb.store import Store
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.headers import PassedOn
from chatpb_server.core.offload import stepwise
from chatpb_server.core.stored_answers import ANSWERS
from chatpb_server.core.upstream import RequestError

_HOW_TO_STORE: Final = (
    "This relay does not store completions: start it with --store URL, such as"
    " --store sqlite:///completions.db."
)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A call of an rpc for another relay.

    Attributes:
        method: The full name of the rpc.
        message: Its message.
        caller: The name of who asks; empty if the relay does not name its callers.
        headers: HTTP headers that belong to this call, as in an `UpstreamRequest`.
        deadline: When the call ends at the latest, in seconds of `time.monotonic`.
        query: Query parameters of this call: none, since the message has them.
    """

    method: str
    message: bytes = field(repr=False)
    caller: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline: float | None = None
    query: str = ""

    def seconds_left(self) -> float | None:
        """The time until the deadline, at least 0; None if there is no deadline."""
        return seconds_until(self.deadline)


@runtime_checkable
class PassesStored(Protocol):
    """An upstream that may be a relay, which has stored completions."""

    @property
    def passes_stored(self) -> bool:
        """Whether it is one."""
        ...

    async def stored(self, request: StoredRequest) -> bytes:
        """The response of an rpc.

        Raises:
            UpstreamFault: The call failed.
            RefusalError: The other relay does not know the rpc, or would not know who asks.
        """
        ...


def passes_stored(upstream: object) -> TypeGuard[PassesStored]:
    """Whether an upstream is a relay, which has stored completions."""
    return isinstance(upstream, PassesStored) and upstream.passes_stored


class StoredChatCompletionService:
    """The service, answered by a store or by an upstream that is a relay.

    Args:
        upstream: What is asked if there is no store.
        store: The store. None: there is none.
        passed_on: As for `ChatCompletionService`.

    Attributes:
        passed_on: The argument, which can be changed.
    """

    def __init__(
        self, upstream: object, store: Store | None = None, passed_on: PassedOn | None = None
    ) -> None:
        self._upstream = upstream
        self._store = store
        self.passed_on = passed_on or PassedOn()

    @property
    def is_answered(self) -> bool:
        """Whether there is a store, or an upstream that may have one."""
        return self._store is not None or passes_stored(self._upstream)

    async def answer(self, call: Call, method: Any, data: bytes) -> bytes:
        """The response of an rpc, in binary form.

        Args:
            call: The call, whose caller sees its own completions only.
            method: The descriptor of the rpc.
            data: Its message.

        Raises:
            RefusalError: There is no store or no such completion, or a parameter is wrong.
            RequestError: The message cannot be read.
            StoreError: The store cannot be used.
            UpstreamFault: The other relay failed.
        """
        try:
            request: Any = GetMessageClass(method.input_type).FromString(data)
        except DecodeError as error:
            raise RequestError("The request is not the binary form of a message.") from error
        if self._store is None:
            return await self._passed(call, method, data)
        answered = await ANSWERS[method.name](self._store, call.caller, request)
        number, _ = contents_of(method)
        return await stepwise(len(answered), embedded, number, (answered,))

    async def _passed(self, call: Call, method: Any, data: bytes) -> bytes:
        upstream = self._upstream
        if not passes_stored(upstream):
            raise RefusalError(404, _HOW_TO_STORE, NO_STORE)
        headers = self.passed_on.of(call.metadata)
        request = StoredRequest(path_of(method), data, call.caller, headers, call.deadline)
        return await upstream.stored(request)
