"""Pydantic AI."""

from typing import Any

from cases import LONG, Point, model, run, timeout
from openai import AsyncOpenAI
from pydantic_ai import Agent, ImageUrl, ModelSettings
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest, SystemPromptPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition


class Client:
    """Its model of OpenAI's chat completions."""

    def __init__(self, url: str) -> None:
        sdk = AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=LONG)
        self.provider = OpenAIProvider(openai_client=sdk)

    def asked(self, case: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a request."""
        options = dict(case["request"])
        messages, tools = options.pop("messages"), options.pop("tools", [])
        functions = [tool["function"] for tool in tools]
        return {
            "model": OpenAIChatModel(model(case), provider=self.provider),
            "messages": [ModelRequest(parts=[_part(message) for message in messages])],
            "model_settings": ModelSettings(timeout=timeout(case), extra_body=options),
            "model_request_parameters": ModelRequestParameters(
                function_tools=[
                    ToolDefinition(name=f["name"], parameters_json_schema=f["parameters"])
                    for f in functions
                ]
            ),
        }

    async def create(self, case: dict[str, Any]) -> Any:
        """A response."""
        return _said(await model_request(**self.asked(case)))

    async def structured(self, case: dict[str, Any]) -> Any:
        """What an agent answers."""
        agent = Agent(self.asked(case)["model"], output_type=NativeOutput(Point))
        found = await agent.run(case["request"]["messages"][0]["content"])
        return found.output, found.usage

    async def stream(self, case: dict[str, Any]) -> Any:
        """The events of a stream, and its response."""
        async with model_request_stream(**self.asked(case)) as stream:
            events = [event async for event in stream]
            return [type(event).__name__ for event in events], _said(stream.get())

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first event of a stream, which is left then."""
        async with model_request_stream(**self.asked(case)) as stream:
            return type(await anext(aiter(stream))).__name__


def _part(message: dict[str, Any]) -> Any:
    if message["role"] == "system":
        return SystemPromptPart(message["content"])
    if isinstance(message["content"], str):
        return UserPromptPart(message["content"])
    return UserPromptPart(
        [
            part["text"] if part["type"] == "text" else ImageUrl(part["image_url"]["url"])
            for part in message["content"]
        ]
    )


def _said(response: Any) -> Any:
    return response.parts, response.usage, response.model_name, response.provider_details


run(Client)
