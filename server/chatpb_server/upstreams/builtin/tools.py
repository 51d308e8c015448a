"""Which tools a request offers, which of them may or must be called, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from chatpb_server.upstreams.builtin.refusals import (
    missing,
    need_array,
    need_object,
    need_string,
    refused,
    unsupported,
)

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_KINDS: Final = ("function", "custom")
_MODES: Final = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that may be called.

    Attributes:
        kind: ``function`` or ``custom``.
        name: Its name.
        parameters: The JSON Schema of a function's arguments.
    """

    kind: str
    name: str
    parameters: Any = None


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """What a request says about tools.

    Attributes:
        tools: Those that may be called.
        mode: Whether none, some or at least one of them is called.
        named: Whether the request names the one to call.
        legacy: Whether they are ``functions``, which ``tools`` have replaced.
    """

    tools: tuple[ToolSpec, ...]
    mode: Literal["none", "auto", "required"]
    named: bool = False
    legacy: bool = False


def tool_plan(body: dict[str, Any]) -> ToolPlan:
    """What a request that is not refused says about tools."""
    if body.get("functions"):
        specs = tuple(
            ToolSpec("function", f["name"], f.get("parameters")) for f in body["functions"]
        )
        choice = body.get("function_call") or "auto"
        if isinstance(choice, str):
            return ToolPlan(specs, "none" if choice == "none" else "auto", legacy=True)
        named = tuple(spec for spec in specs if spec.name == choice["name"])
        return ToolPlan(named, "required", named=True, legacy=True)
    specs = tuple(_spec(tool) for tool in body.get("tools") or ())
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return ToolPlan(specs, "none" if not specs else _mode(choice))
    if choice["type"] == "allowed_tools":
        allowed = {_key(tool) for tool in choice["allowed_tools"]["tools"]}
        mode = _mode(choice["allowed_tools"].get("mode") or "auto")
        return ToolPlan(tuple(s for s in specs if (s.kind, s.name) in allowed), mode)
    chosen = tuple(spec for spec in specs if (spec.kind, spec.name) == _key(choice))
    return ToolPlan(chosen, "required", named=True)


def check_tools(given: dict[str, Any]) -> None:
    """Refuses tools, and choices of them, that OpenAI would refuse.

    Args:
        given: The members of the request that are not null.

    Raises:
        UpstreamError: The request is refused.
    """
    offered = {_check_tool(t, f"tools[{i}]") for i, t in _elements(given, "tools")}
    functions = {_check_name(f, f"functions[{i}]") for i, f in _elements(given, "functions")}
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in given and not offered:
            raise _only_with(name, "tools")
    if "function_call" in given and not functions:
        raise _only_with("function_call", "functions")
    if "tool_choice" in given:
        _check_choice(given["tool_choice"], offered)
    choice = given.get("function_call", "auto")
    if isinstance(choice, str):
        if choice not in _MODES[:2]:
            raise unsupported("function_call", choice, _MODES[:2])
    elif _check_name(choice, "function_call") not in functions:
        raise refused(
            f"Invalid value for 'function_call': no function named '{choice['name']}' was specified"
            " in the 'functions' parameter.",
            "function_call",
        )


def _elements(given: dict[str, Any], name: str) -> enumerate[Any]:
    return enumerate(need_array(given[name], name) if name in given else [])


def _only_with(name: str, other: str) -> Exception:
    text = f"Invalid value for '{name}': '{name}' is only allowed when '{other}' are specified."
    return refused(text, name)


def _check_tool(tool: Any, path: str) -> tuple[str, str]:
    kind = need_string(need_object(tool, path).get("type"), f"{path}.type")
    if kind not in _KINDS:
        raise unsupported(f"{path}.type", kind, _KINDS)
    if tool.get(kind) is None:
        raise missing(f"{path}.{kind}")
    return kind, _check_name(tool[kind], f"{path}.{kind}")


def _check_name(definition: Any, path: str) -> str:
    name = need_string(need_object(definition, path).get("name"), f"{path}.name")
    if not _NAME.fullmatch(name):
        raise refused(
            f"Invalid '{path}.name': string does not match pattern. Expected a string that matches"
            f" the pattern '^{_NAME.pattern}$'.",
            f"{path}.name",
            "invalid_value",
        )
    if definition.get("parameters") is not None:
        need_object(definition["parameters"], f"{path}.parameters")
    return name


def _check_choice(choice: Any, offered: set[tuple[str, str]]) -> None:
    if isinstance(choice, str):
        if choice not in _MODES:
            raise unsupported("tool_choice", choice, _MODES)
        return
    kind = need_string(need_object(choice, "tool_choice").get("type"), "tool_choice.type")
    if kind == "allowed_tools":
        path = "tool_choice.allowed_tools"
        allowed = need_object(choice.get("allowed_tools"), path)
        if allowed.get("mode", "auto") not in _MODES[1:]:
            raise unsupported(f"{path}.mode", str(allowed["mode"]), _MODES[1:])
        for index, tool in enumerate(need_array(allowed.get("tools"), f"{path}.tools")):
            _check_offered(_check_tool(tool, f"{path}.tools[{index}]"), offered)
    elif kind not in _KINDS:
        raise unsupported("tool_choice.type", kind, (*_KINDS, "allowed_tools"))
    else:
        _check_offered(_check_tool(choice, "tool_choice"), offered)


def _check_offered(key: tuple[str, str], offered: set[tuple[str, str]]) -> None:
    if key not in offered:
        raise refused(
            f"Invalid value for 'tool_choice': no {key[0]} named '{key[1]}' was specified in the"
            " 'tools' parameter.",
            "tool_choice",
        )


def _spec(tool: dict[str, Any]) -> ToolSpec:
    kind, name = _key(tool)
    return ToolSpec(kind, name, tool[kind].get("parameters"))


def _key(tool: dict[str, Any]) -> tuple[str, str]:
    return tool["type"], tool[tool["type"]]["name"]


def _mode(word: str) -> Literal["none", "auto", "required"]:
    return "none" if word == "none" else "required" if word == "required" else "auto"
