"""LiteLLM, as a library."""

from typing import Any

import litellm
from cases import Point, model, run, timeout

litellm.suppress_debug_info = True


class Client:
    """Its functions, for a base URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def call(self, case: dict[str, Any], **more: Any) -> Any:
        """What LiteLLM returns."""
        return await litellm.acompletion(
            model=f"openai/{model(case)}",
            api_base=self.url,
            api_key="key",
            max_retries=0,
            timeout=timeout(case),
            **{**case["request"], **more},
        )

    async def create(self, case: dict[str, Any]) -> Any:
        """A completion."""
        return await self.call(case)

    async def structured(self, case: dict[str, Any]) -> Any:
        """A completion."""
        return await self.call(case, response_format=Point)

    async def stream(self, case: dict[str, Any]) -> Any:
        """The chunks of a stream, but for the times at which LiteLLM made them."""
        return [
            {**part.model_dump(), "created": 0} async for part in await self.call(case, stream=True)
        ]

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first text of a stream, which is left then."""
        stream = await self.call(case, stream=True)
        part = await anext(aiter(stream))
        await stream.aclose()
        return part.choices[0].delta.content


run(Client)
