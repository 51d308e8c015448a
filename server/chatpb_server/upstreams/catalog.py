"""What an upstream lists, asked when a caller wants to know, and kept for a time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from chatpb_server.core.headers import OF_ONE_CALL
from chatpb_server.core.models import ListedModel, ModelsRequest, models_of
from chatpb_server.core.offload import stepwise
from chatpb_server.core.setting import Seconds, Setting, Table
from chatpb_server.core.upstream import UpstreamFault, UpstreamTimeoutError

_logger = logging.getLogger(__name__)

Models = Mapping[str, ListedModel]
"""Models by name, in the order in which they are listed."""

#: How many questions to one upstream can be open at once. More wait for their turn.
_MOST_OPEN: Final = 8
#: How many bytes of lists are kept of one upstream; those that nobody asks for go first.
_MOST_KEPT: Final = 16 * 1024 * 1024
#: What a kept list, and each of its models, takes besides their bytes.
_OVERHEAD: Final = 512
#: After how many seconds the log says again that an upstream does not list its models.
_QUIET_SECONDS: Final = 60.0


class ModelsTable(Table):
    """What upstreams list at ``/v1/models``. Those whose models are all named are not asked."""

    title: ClassVar[str] = "Models"

    ttl: Annotated[
        Seconds,
        Setting(
            "How long the list of an upstream's models is kept, separately for callers whose"
            " headers can make a difference. 0: not at all.",
            flag="--models-ttl",
            unit="seconds",
        ),
    ] = 60
    timeout: Annotated[
        float,
        Field(gt=0),
        Setting("How long an upstream can take to list its models.", unit="seconds"),
    ] = 10


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list.

    Attributes:
        models: The models.
        size: The bytes that it takes.
        until: Until when it is kept, in seconds of `time.monotonic`.
    """

    models: Models
    size: int
    until: float


class Catalog:
    """What one upstream lists.

    Callers that ask the same at the same time share one question. It ends with the last of them.

    Args:
        name: The name of the upstream.
        upstream: The upstream.
        patterns: Which of its models count; ``*`` matches any text.
        policy: How long it can take, and how long its answer is kept.
    """

    def __init__(
        self, name: str, upstream: object, patterns: Sequence[str], policy: ModelsTable
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._patterns = patterns
        self._policy = policy
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._size = 0
        self._shared: dict[bytes, _Shared] = {}
        self._open = asyncio.Semaphore(_MOST_OPEN)
        self._quiet_until = 0.0

    async def models(self, request: ModelsRequest) -> Models:
        """The models.

        Raises:
            UpstreamFault: The upstream does not list them.
        """
        key = _key(request)
        if (kept := self._kept.get(key)) is not None:
            if kept.until > time.monotonic():
                self._kept.move_to_end(key)
                return kept.models
            self._drop(key)
        shared = self._shared.get(key)
        if shared is None or shared.is_ending:
            shared = self._shared[key] = _Shared(self._ask(key, request))
            shared.task.add_done_callback(lambda _: self._forget(key, shared))
        return await shared.wait()

    def _forget(self, key: bytes, shared: _Shared) -> None:
        if self._shared.get(key) is shared:
            del self._shared[key]

    async def _ask(self, key: bytes, request: ModelsRequest) -> Models:
        seconds = self._policy.timeout
        try:
            async with asyncio.timeout(seconds) as scope, self._open:
                deadline = time.monotonic() + seconds
                question = replace(
                    request, wanted=None, headers=_shared_headers(request), deadline=deadline
                )
                listed = await models_of(self._upstream, question)
                work = len(listed) * _OVERHEAD
                models, size = await stepwise(work, _chosen, listed, self._patterns)
        except TimeoutError as error:
            if not scope.expired():
                raise
            self._complain("it took too long")
            raise UpstreamTimeoutError("no list of models") from error
        except UpstreamFault as error:
            self._complain(error)
            raise
        self._quiet_until = 0.0
        self._keep(key, models, size)
        return models

    def _complain(self, why: object) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _logger.warning("upstream %s does not list its models: %s", self._name, why)

    def _keep(self, key: bytes, models: Models, size: int) -> None:
        if not self._policy.ttl:
            return
        self._drop(key)
        size += _OVERHEAD
        self._kept[key] = _Kept(models, size, time.monotonic() + self._policy.ttl)
        self._size += size
        while self._size > _MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._size -= kept.size


class _Shared:
    """A question that several callers wait for.

    Args:
        question: The question.

    Attributes:
        task: The task that asks.
        is_ending: Whether it ends without an answer, because nobody waits any more.
    """

    def __init__(self, question: Coroutine[Any, Any, Models]) -> None:
        self.task = asyncio.ensure_future(question)
        self.is_ending = False
        self._waiting = 0

    async def wait(self) -> Models:
        """The answer. The question ends if nobody waits any more."""
        self._waiting += 1
        try:
            await asyncio.wait({self.task})
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.is_ending = True
                self.task.cancel()
                await asyncio.wait({self.task})
                if not self.task.cancelled():
                    self.task.exception()  # so that it is not reported as lost
        return self.task.result()


def _chosen(listed: Sequence[ListedModel], patterns: Sequence[str]) -> tuple[Models, int]:
    """The models that some patterns mean, and how many bytes they take."""
    means = re.compile("|".join(map(translate, patterns))).match
    models = {model.id: model for model in listed if means(model.id)}
    return models, sum(len(model.binary) + _OVERHEAD for model in models.values())


def _key(request: ModelsRequest) -> bytes:
    """What tells questions apart that can have different answers. It holds no secret."""
    asked = hashlib.sha256(request.query.encode())
    for name, value in sorted(_shared_headers(request).items()):
        asked.update(b"\n%s\0%s" % (name.encode(), value.encode()))
    return asked.digest()


def _shared_headers(request: ModelsRequest) -> dict[str, str]:
    """The headers that are not of one call, since callers share a question."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {name: value for name, value in headers.items() if name not in OF_ONE_CALL}
