"""The upstream in the process: a deterministic model that needs no key and no network.

It answers in the JSON that api.openai.com sends, honours what bears on the form of an answer, and
refuses what OpenAI refuses. The words mean nothing; equal requests get equal ones.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar, Final

import orjson

from chatpb.sse import DONE, event
from chatpb_server.core.models import ListedModel, ModelsRequest, named_model
from chatpb_server.core.upstream import UpstreamAnswer, UpstreamRequest, UpstreamStream
from chatpb_server.upstreams.builtin import render as render
from chatpb_server.upstreams.builtin.checks import check
from chatpb_server.upstreams.builtin.model import Answer, answers, fingerprint
from chatpb_server.upstreams.builtin.refusals import need_object, refused
from chatpb_server.upstreams.events import answer_of, chunks_of
from chatpb_server.upstreams.registry import UpstreamTable, register

_OWNER: Final = "chatpb"


class BuiltinUpstream:
    """An `Upstream` that makes up its answers.

    Honoured are n, logprobs and top_logprobs, max_completion_tokens and max_tokens, stop, tools and
    tool_choice, functions and function_call, seed, response_format, service_tier and
    stream_options.include_usage. Offered tools, the model calls them unless the last message is a
    tool's result.

    Args:
        clock: Gives the time of creation, in seconds since the Unix epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        body = _read(await request.body.text())
        choices = answers(body)
        completion = render.completion(self._envelope(body), choices, _usage(body, choices))
        return await answer_of(orjson.dumps(completion))

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers chunk by chunk, one in each item, as `Upstream.stream` says."""
        body = _read(await request.body.text())
        choices = answers(body)
        wanted = (body.get("stream_options") or {}).get("include_usage")
        usage = _usage(body, choices) if wanted else None
        chunks = render.chunks(self._envelope(body), choices, usage)
        async with (
            aclosing(_events(chunks)) as events,
            aclosing(chunks_of(events, max_event_bytes=request.max_event_bytes)) as arrived,
        ):
            yield UpstreamStream(arrived)

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:  # noqa: ARG002
        """Lists itself."""
        return (named_model(BuiltinTable.form, _OWNER),)

    async def close(self) -> None:
        """Does nothing: there is nothing to free."""

    def _envelope(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = {k: v for k, v in body.items() if k not in ("stream", "stream_options")}
        tier = body.get("service_tier") or "auto"
        return {
            "id": f"chatcmpl-{fingerprint(asked)[:29]}",
            "created": int(self._clock()),
            "model": body["model"],
            "service_tier": "default" if tier == "auto" else tier,
        }


async def _events(chunks: Iterable[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield event(orjson.dumps(chunk))
    yield event(DONE)


def _read(request: bytes) -> dict[str, Any]:
    try:
        body = need_object(orjson.loads(request), "body")
    except orjson.JSONDecodeError:
        raise refused("We could not parse the JSON body of your request.") from None
    check(body)
    return body


def _usage(body: dict[str, Any], choices: Sequence[Answer]) -> dict[str, Any]:
    return render.usage(_prompt_tokens(body), sum(answer.tokens for answer in choices))


def _prompt_tokens(body: dict[str, Any]) -> int:
    """About as many as OpenAI would count: one for four bytes, and some for each message."""
    offered = [body[name] for name in ("tools", "functions") if body.get(name)]
    size = sum(len(orjson.dumps(tools)) for tools in offered)
    for message in body["messages"]:
        content = message.get("content") or ""
        texts = [content] if isinstance(content, str) else [p.get("text") or "" for p in content]
        size += sum(len(text.encode()) for text in texts if isinstance(text, str))
    return 3 + 4 * len(body["messages"]) + (size + 3) // 4


@register
class BuiltinTable(UpstreamTable):
    """The builtin model."""

    kind: ClassVar[str] = "builtin"
    form: ClassVar[str] = "builtin"
    expected: ClassVar[str] = "builtin"
    about: ClassVar[str] = "A deterministic model in the server, without a key or a network."

    @classmethod
    def takes(cls, url: str) -> bool:
        """Whether a URL is the word ``builtin``."""
        return url == cls.form

    def build(self, max_bytes: int) -> BuiltinUpstream:  # noqa: ARG002 (its answers are small)
        """Makes the model."""
        return BuiltinUpstream()
