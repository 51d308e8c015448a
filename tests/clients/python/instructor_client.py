"""Instructor."""

from typing import Any

import instructor
from cases import LONG, Point, model, run, timeout
from openai import AsyncOpenAI


class Client:
    """OpenAI's client, patched."""

    def __init__(self, url: str) -> None:
        sdk = AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=LONG)
        self.json = instructor.from_openai(sdk, mode=instructor.Mode.JSON_SCHEMA)
        self.tools = instructor.from_openai(sdk, mode=instructor.Mode.TOOLS)

    async def create(self, case: dict[str, Any]) -> Any:
        """A completion of OpenAI's client, unparsed."""
        call = self.json.chat.completions.create
        request = {**case["request"], "timeout": timeout(case)}
        return await call(model=model(case), response_model=None, max_retries=0, **request)

    async def structured(self, case: dict[str, Any]) -> Any:
        """A value, and the completion that it was parsed from; then in pieces."""
        messages = case["request"]["messages"]
        call = self.json.chat.completions.create_with_completion
        how = {"model": model(case), "messages": messages, "response_model": Point}
        return await call(**how, max_retries=0)

    async def tool(self, case: dict[str, Any]) -> Any:
        """A value from the arguments of a tool call."""
        call = self.tools.chat.completions.create_with_completion
        how = {"messages": case["request"]["messages"], "response_model": Point}
        return await call(model=model(case), **how, max_retries=0)


run(Client)
