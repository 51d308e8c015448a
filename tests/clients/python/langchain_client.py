"""LangChain."""

from typing import Any

from cases import Point, model, run, timeout
from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI


class Client:
    """Its chat model of OpenAI."""

    def __init__(self, url: str) -> None:
        self.url = url

    def chat(self, case: dict[str, Any]) -> tuple[Any, Any]:
        """The model, and the messages to send."""
        options = dict(case["request"])
        messages = convert_to_messages(options.pop("messages"))
        chat = ChatOpenAI(
            base_url=self.url,
            api_key="key",
            model=model(case),
            max_retries=0,
            timeout=timeout(case),
            stream_usage=False,
        )
        return chat.bind(**options), messages

    async def create(self, case: dict[str, Any]) -> Any:
        """A message, with the generations next to it."""
        chat, messages = self.chat(case)
        result = await chat.bound.agenerate([messages], **chat.kwargs)
        return [_without_run(item) for item in result.generations[0]], result.llm_output

    async def structured(self, case: dict[str, Any]) -> Any:
        """A message, parsed."""
        chat, messages = self.chat(case)
        parsing = chat.bound.with_structured_output(Point, include_raw=True)
        found = await parsing.ainvoke(messages)
        return found["parsed"], found["parsing_error"], found["raw"].content

    async def stream(self, case: dict[str, Any]) -> Any:
        """The pieces of a message."""
        chat, messages = self.chat(case)
        return [_without_id(part) async for part in chat.astream(messages)]

    async def cancel(self, case: dict[str, Any]) -> Any:
        """The first piece of a message, which is left then."""
        chat, messages = self.chat(case)
        stream = chat.astream(messages)
        async for part in stream:
            if part.content:
                break
        await stream.aclose()
        return part.content


def _without_run(generation: Any) -> Any:
    """A generation without the number that LangChain draws for each run."""
    return generation.text, generation.generation_info, _without_id(generation.message)


def _without_id(message: Any) -> Any:
    return {**message.model_dump(), "id": None}


run(Client)
