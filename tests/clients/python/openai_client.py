"""OpenAI's own client."""

from typing import Any

from cases import LONG, Point, model, run, timeout
from openai import AsyncOpenAI


class Client:
    """The client for asyncio."""

    def __init__(self, url: str) -> None:
        self.sdk = AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=LONG)

    async def create(self, case: dict[str, Any]) -> Any:
        """A completion, and the headers that callers read."""
        sdk = self.sdk.with_options(timeout=timeout(case))
        call = sdk.chat.completions.with_raw_response.create
        raw = await call(model=model(case), **case["request"])
        answer = raw.parse()
        return answer, answer._request_id, raw.headers.get("x-ratelimit-remaining-tokens")

    async def structured(self, case: dict[str, Any]) -> Any:
        """A completion, parsed."""
        call = self.sdk.chat.completions.parse
        request = {**case["request"], "response_format": Point}
        return await call(model=model(case), **request)

    async def stream(self, case: dict[str, Any]) -> Any:
        """The chunks of a stream, and its completion."""
        call = self.sdk.chat.completions.create
        chunks = [c async for c in await call(model=model(case), stream=True, **case["request"])]
        async with self.sdk.chat.completions.stream(model=model(case), **case["request"]) as it:
            return chunks, await it.get_final_completion()

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first chunk of a stream, which is left then."""
        call = self.sdk.chat.completions.create
        async with await call(model=model(case), stream=True, **case["request"]) as stream:
            return await anext(aiter(stream))


run(Client)
