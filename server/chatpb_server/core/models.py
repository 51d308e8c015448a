"""The port for what models there are: which upstreams can list them, and in which form."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, runtime_checkable

from chatpb._rpc.deadline import seconds_until
from chatpb.v1.model_pb2 import Model

#: Of models that no upstream has described, the time of creation.
_BEGAN: Final = int(time.time())


class ListedModel(NamedTuple):
    """A model.

    Attributes:
        id: Its name, as requests give it.
        binary: The binary form of a Model.
    """

    id: str
    binary: bytes


@dataclass(frozen=True, slots=True)
class ModelsRequest:
    """A question for models, and what an upstream needs to know about who asks.

    Attributes:
        wanted: The name of the only model that is wanted; None for all.
        headers: HTTP headers that belong to this call, as in an `UpstreamRequest`.
        query: Query parameters of this call, as in an `UpstreamRequest`.
        deadline: When the question ends at the latest, in seconds of `time.monotonic`.
    """

    wanted: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    deadline: float | None = None

    def seconds_left(self) -> float | None:
        """The time until the deadline, at least 0; None if there is no deadline."""
        return seconds_until(self.deadline)


@runtime_checkable
class ListsModels(Protocol):
    """An upstream that can tell which models it has."""

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:
        """All models, or those with the name that is wanted; it may list others too.

        Raises:
            UpstreamFault: It cannot tell.
        """
        ...


async def models_of(upstream: object, request: ModelsRequest) -> Sequence[ListedModel]:
    """What `ListsModels.models` gives; nothing if the upstream cannot list its models."""
    return await upstream.models(request) if isinstance(upstream, ListsModels) else ()


def named_model(name: str, owner: str, created: int = _BEGAN) -> ListedModel:
    """A model of which only the name is known.

    Args:
        name: Its name.
        owner: Who owns it.
        created: When it was created, in seconds since the Unix epoch.
    """
    model = Model(id=name, created=created, owned_by=owner)
    return ListedModel(name, model.SerializeToString(deterministic=True))


class NamedModels:
    """Lists the same models all the time.

    Args:
        owners: The models, each with the name of who owns it.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._models = [named_model(name, owner) for name, owner in owners.items()]

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:  # noqa: ARG002
        """The models."""
        return self._models
