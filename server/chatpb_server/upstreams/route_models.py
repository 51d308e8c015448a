"""The models of several routes: of each what its patterns allow, and all in one list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from chatpb_server.core.error import error_kind
from chatpb_server.core.models import ListedModel, ModelsRequest, named_model
from chatpb_server.core.offload import stepwise
from chatpb_server.core.upstream import UpstreamError, UpstreamFault, refusal
from chatpb_server.upstreams.catalog import Catalog, ModelsTable

#: To put one model in a list takes as long as to go over so many bytes.
_WORK: Final = 32
_WILD: Final = frozenset("*?[")


class RouteModels:
    """The models of a route.

    Those that it names are listed in any case. Its upstream is asked if there are patterns.

    Args:
        name: The name of the route.
        upstream: Its upstream.
        patterns: The models that it answers.
        policy: As for `Catalog`.

    Attributes:
        name: The argument.
    """

    def __init__(
        self, name: str, upstream: object, patterns: Sequence[str], policy: ModelsTable
    ) -> None:
        self.name = name
        self._patterns = patterns
        names = [pattern for pattern in patterns if not _WILD & set(pattern)]
        self._named = {model: named_model(model, name) for model in names}
        self._is_wild = len(names) < len(patterns)
        self._catalog = Catalog(name, upstream, patterns, policy)

    def answers(self, model: str) -> bool:
        """Whether the route answers a model."""
        return any(fnmatchcase(model, pattern) for pattern in self._patterns)

    async def models(
        self, request: ModelsRequest
    ) -> tuple[Mapping[str, ListedModel], UpstreamFault | None]:
        """The models by name, and why there are no others if the upstream does not list them."""
        if not self._is_wild:
            return self._named, None
        try:
            found = await self._catalog.models(request)
        except UpstreamFault as fault:
            return self._named, fault
        missing = {name: model for name, model in self._named.items() if name not in found}
        return {**found, **missing} if missing else found, None


async def united(routes: Sequence[RouteModels], request: ModelsRequest) -> Sequence[ListedModel]:
    """The models of all routes, each once, in the order of the routes.

    Args:
        routes: The routes.
        request: The question. For one model, only routes that answer it are asked.

    Raises:
        UpstreamFault: No route can tell, or not whether there is the model that is wanted.
    """
    wanted = request.wanted
    asked = [route for route in routes if wanted is None or route.answers(wanted)]
    questions = [asyncio.ensure_future(route.models(request)) for route in asked]
    found: list[Mapping[str, ListedModel]] = []
    faults: dict[str, UpstreamFault] = {}
    try:
        for route, question in zip(asked, questions, strict=True):
            models, fault = await question
            if wanted is not None and wanted in models:
                return (models[wanted],)
            if models:
                found.append(models)
            if fault is not None:
                faults[route.name] = fault
    finally:  # the later routes need not answer any more
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
    if faults and (wanted is not None or (not found and len(faults) == len(asked))):
        raise _joined(faults)
    if wanted is not None:
        return ()
    if len(found) == 1:
        return tuple(found[0].values())
    return await stepwise(sum(map(len, found)) * _WORK, _all_of, found)


def _all_of(found: Sequence[Mapping[str, ListedModel]]) -> Sequence[ListedModel]:
    """The models of several routes, each once."""
    models: dict[str, ListedModel] = {}
    for each in found:
        for name, model in each.items():
            models.setdefault(name, model)
    return tuple(models.values())


def _joined(faults: Mapping[str, UpstreamFault]) -> UpstreamFault:
    """One fault for those of several upstreams, by name."""
    first, *others = faults.values()
    if not others:
        return first
    statuses = {
        fault.http_status if isinstance(fault, UpstreamError) else None for fault in faults.values()
    }
    status = statuses.pop() if len(statuses) == 1 else None
    status = status if status is not None and status >= 400 else 502
    said = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    return refusal(status, f"No upstream lists its models: {said}.", error_kind(status))
