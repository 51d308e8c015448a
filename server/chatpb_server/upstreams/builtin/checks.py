"""What the builtin upstream refuses, because OpenAI does."""

from __future__ import annotations

from typing import Any, Final

from chatpb_server.upstreams.builtin.refusals import (
    check_number,
    missing,
    need_array,
    need_object,
    need_string,
    refused,
    unsupported,
    wrong_type,
)
from chatpb_server.upstreams.builtin.tools import check_tools

_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_FORMATS: Final = ("json_object", "json_schema", "text")
_MAX_STOPS: Final = 4

_NUMBERS: Final[tuple[tuple[str, type[int] | type[float], int, int | None], ...]] = (
    ("temperature", float, 0, 2),
    ("top_p", float, 0, 1),
    ("presence_penalty", float, -2, 2),
    ("frequency_penalty", float, -2, 2),
    ("n", int, 1, 128),
    ("top_logprobs", int, 0, 20),
    ("max_tokens", int, 1, None),
    ("max_completion_tokens", int, 1, None),
    ("seed", int, -(2**63), 2**63 - 1),
)
_BOOLEANS: Final = ("logprobs", "parallel_tool_calls", "store", "stream")
_OBJECTS: Final = ("logit_bias", "metadata", "response_format", "stream_options")
_STRINGS: Final = ("service_tier", "user")


def check(body: dict[str, Any]) -> None:
    """Refuses a request that OpenAI would refuse. As there, null is the same as no value.

    Raises:
        UpstreamError: The request is refused.
    """
    if body.get("model") in (None, ""):
        raise refused("you must provide a model parameter")
    need_string(body["model"], "model")
    _check_messages(body.get("messages"))
    given = {name: value for name, value in body.items() if value is not None}
    for name, kind, low, high in _NUMBERS:
        if name in given:
            check_number(given[name], name, kind, low, high)
    for name in _BOOLEANS:
        if not isinstance(given.get(name, False), bool):
            raise wrong_type(name, "a boolean", given[name])
    for name in _OBJECTS:
        need_object(given.get(name, {}), name)
    for name in _STRINGS:
        need_string(given.get(name, ""), name)
    _check_combinations(given)
    _check_stop(given.get("stop"))
    _check_format(given.get("response_format"))
    check_tools(given)


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise missing("messages")
    for index, item in enumerate(need_array(messages, "messages")):
        path = f"messages[{index}]"
        message = need_object(item, path)
        role = need_string(message.get("role"), f"{path}.role")
        if role not in _ROLES:
            raise unsupported(f"{path}.role", role, _ROLES)
        if role == "tool":
            _need_call_id(message.get("tool_call_id"), path)
        content = message.get("content")
        if isinstance(content, list):
            for position, part in enumerate(content):
                _check_part(part, f"{path}.content[{position}]")
        elif content is None:
            if role not in ("assistant", "function"):
                text = "Invalid value for 'content': expected a string, got null."
                raise refused(text, f"{path}.content")
        elif not isinstance(content, str):
            raise wrong_type(f"{path}.content", "one of a string or array of objects", content)


def _need_call_id(call_id: Any, path: str) -> None:
    if call_id is None:
        text = "messages with role 'tool' must have a 'tool_call_id'."
        raise refused(f"Missing parameter 'tool_call_id': {text}", f"{path}.tool_call_id")
    need_string(call_id, f"{path}.tool_call_id")


def _check_part(part: Any, path: str) -> None:
    kind = need_string(need_object(part, path).get("type"), f"{path}.type")
    if kind == "text":
        need_string(part.get("text"), f"{path}.text")


def _check_combinations(given: dict[str, Any]) -> None:
    if "top_logprobs" in given and not given.get("logprobs"):
        text = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise refused(text, "top_logprobs")
    if "stream_options" in given and not given.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise refused(text, "stream_options")
    if "max_tokens" in given and "max_completion_tokens" in given:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise refused(text, "max_tokens")
    for name in ("include_usage", "include_obfuscation"):
        value = given.get("stream_options", {}).get(name)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(f"stream_options.{name}", "a boolean", value)


def _check_stop(stop: Any) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list):
        raise wrong_type("stop", "one of a string or array of strings", stop)
    if len(stop) > _MAX_STOPS:
        text = f"Expected an array with maximum length {_MAX_STOPS}, but got an array with length"
        text = f"Invalid 'stop': array too long. {text} {len(stop)} instead."
        raise refused(text, "stop", "array_above_max_length")
    for index, item in enumerate(stop):
        if not isinstance(item, str):
            raise wrong_type(f"stop[{index}]", "a string", item)


def _check_format(response_format: dict[str, Any] | None) -> None:
    if response_format is None:
        return
    kind = need_string(response_format.get("type"), "response_format.type")
    if kind not in _FORMATS:
        raise unsupported("response_format.type", kind, _FORMATS)
    if kind == "json_schema":
        path = "response_format.json_schema"
        if response_format.get("json_schema") is None:
            raise missing(path)
        json_schema = need_object(response_format["json_schema"], path)
        need_string(json_schema.get("name"), f"{path}.name")
        if json_schema.get("schema") is None:
            raise missing(f"{path}.schema")
        need_object(json_schema["schema"], f"{path}.schema")
