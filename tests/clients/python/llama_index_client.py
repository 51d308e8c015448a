"""LlamaIndex."""

from typing import Any

from cases import Point, model, run, timeout
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai import OpenAI


class Client:
    """Its model of OpenAI."""

    def __init__(self, url: str) -> None:
        self.url = url

    def llm(self, case: dict[str, Any]) -> Any:
        """The model."""
        return OpenAI(
            model=model(case),
            api_base=self.url,
            api_key="key",
            max_retries=0,
            timeout=timeout(case),
        )

    def asked(self, case: dict[str, Any]) -> tuple[Any, Any]:
        """The messages to send, and the options."""
        options = dict(case["request"])
        return [_message(message) for message in options.pop("messages")], options

    async def create(self, case: dict[str, Any]) -> Any:
        """A response, and the completion that it was made from."""
        messages, options = self.asked(case)
        found = await self.llm(case).achat(messages, **options)
        return found.message, found.logprobs, found.raw, found.additional_kwargs

    async def tool(self, case: dict[str, Any]) -> Any:
        """A value from the arguments of a tool call."""
        prompt = PromptTemplate(case["request"]["messages"][0]["content"])
        llm = self.llm(case)
        return await llm.astructured_predict(Point, prompt)

    async def stream(self, case: dict[str, Any]) -> Any:
        """The pieces of a response."""
        messages, options = self.asked(case)
        stream = await self.llm(case).astream_chat(messages, **options)
        return [(part.delta, part.message, part.raw) async for part in stream]

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first text of a response, which is left then."""
        messages, options = self.asked(case)
        stream = await self.llm(case).astream_chat(messages, **options)
        async for part in stream:
            if part.delta:
                break
        await stream.aclose()
        return part.delta


def _message(message: dict[str, Any]) -> Any:
    if isinstance(message["content"], str):
        return ChatMessage(role=message["role"], content=message["content"])
    blocks = [
        TextBlock(text=part["text"])
        if part["type"] == "text"
        else ImageBlock(url=part["image_url"]["url"])
        for part in message["content"]
    ]
    return ChatMessage(role=message["role"], blocks=blocks)


run(Client)
