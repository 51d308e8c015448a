"""OpenAI's Agents SDK."""

from typing import Any

from agents import (
    Agent,
    FunctionTool,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    set_tracing_disabled,
)
from cases import LONG, Point, model, run, timeout
from openai import AsyncOpenAI

set_tracing_disabled(True)


async def _called(_: Any, arguments: str) -> str:
    return f"called with {arguments}"


class Client:
    """Agents on the model of OpenAI's chat completions."""

    def __init__(self, url: str) -> None:
        self.sdk = AsyncOpenAI(base_url=url, api_key="key", max_retries=0, timeout=LONG)

    def agent(self, case: dict[str, Any], **more: Any) -> Any:
        """An agent, which stops after its first tool call."""
        sdk = self.sdk.with_options(timeout=timeout(case))
        known = {"messages", "tools"}
        options = {key: v for key, v in case["request"].items() if key not in known}
        functions = [tool["function"] for tool in case["request"].get("tools", [])]
        return Agent(
            name="agent",
            model=OpenAIChatCompletionsModel(model=model(case), openai_client=sdk),
            model_settings=ModelSettings(extra_body=options, include_usage=False),
            tools=[
                FunctionTool(
                    name=function["name"],
                    description="",
                    params_json_schema=function["parameters"],
                    on_invoke_tool=_called,
                    strict_json_schema=False,
                )
                for function in functions
            ],
            tool_use_behavior="stop_on_first_tool",
            **more,
        )

    async def create(self, case: dict[str, Any]) -> Any:
        """What an agent answers."""
        found = await Runner.run(self.agent(case), _messages(case))
        return found.final_output, [_response(item) for item in found.raw_responses]

    async def structured(self, case: dict[str, Any]) -> Any:
        """What an agent answers, parsed."""
        agent = self.agent({**case, "request": {"messages": []}}, output_type=Point)
        return (await Runner.run(agent, _messages(case))).final_output

    async def stream(self, case: dict[str, Any]) -> Any:
        """The events of a stream."""
        found = Runner.run_streamed(self.agent(case), _messages(case))
        kinds = [event.type async for event in found.stream_events()]
        return kinds, found.final_output, [_response(item) for item in found.raw_responses]

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first event with a text, after which the run is cancelled."""
        found = Runner.run_streamed(self.agent(case), _messages(case))
        async for event in found.stream_events():
            if event.type == "raw_response_event" and "delta" in event.data.type:
                found.cancel()
                return event.data.delta
        return None


def _messages(case: dict[str, Any]) -> Any:
    """The messages, with the names of the parts as the Agents SDK has them."""
    found = []
    for message in case["request"]["messages"]:
        content = message["content"]
        if isinstance(content, list):
            content = [
                {"type": "input_text", "text": part["text"]}
                if part["type"] == "text"
                else {"type": "input_image", "detail": "auto", **_url(part)}
                for part in content
            ]
        found.append({**message, "content": content})
    return found


def _url(part: dict[str, Any]) -> dict[str, Any]:
    return {"image_url": part["image_url"]["url"]}


def _response(item: Any) -> Any:
    return [output.model_dump() for output in item.output], item.usage


run(Client)
