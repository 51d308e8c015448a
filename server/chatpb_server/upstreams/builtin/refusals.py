"""Refusals in the words of OpenAI, and the checks that any parameter may need."""

from __future__ import annotations

from typing import Any

from chatpb_server.core.upstream import UpstreamError, refusal


def refused(message: str, param: str | None = None, code: str | None = None) -> UpstreamError:
    """The answer to a request that OpenAI would refuse: HTTP 400 and the error object."""
    return refusal(400, message, param=param, code=code)


def missing(param: str) -> UpstreamError:
    """The refusal of a request without a parameter."""
    message = f"Missing required parameter: '{param}'."
    return refused(message, param, "missing_required_parameter")


def unsupported(param: str, value: str, supported: tuple[str, ...]) -> UpstreamError:
    """The refusal of a word that is not one of those supported."""
    words = ", ".join(f"'{word}'" for word in supported[:-1])
    words = f"{words}, and '{supported[-1]}'" if words else f"'{supported[-1]}'"
    message = f"Invalid value: '{value}'. Supported values are: {words}."
    return refused(message, param, "invalid_value")


def wrong_type(param: str, expected: str, value: Any) -> UpstreamError:
    """The refusal of a value of the wrong JSON type."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead."
    return refused(message, param, "invalid_type")


def need_object(value: Any, param: str) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def need_array(value: Any, param: str, *, empty: bool = False) -> list[Any]:
    """The value, which must be an array, with elements unless it may be empty."""
    if not isinstance(value, list):
        raise wrong_type(param, "an array of objects", value)
    if not value and not empty:
        text = "Expected an array with minimum length 1, but got an empty array instead."
        raise refused(f"Invalid '{param}': empty array. {text}", param, "empty_array")
    return value


def need_string(value: Any, param: str) -> str:
    """The value, which must be given and a string."""
    if value is None:
        raise missing(param)
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def check_number(
    value: Any, param: str, kind: type[int] | type[float], low: float, high: float | None
) -> None:
    """Refuses what is not an integer, or not a number, within the bounds."""
    word = "integer" if kind is int else "decimal"
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise wrong_type(param, "an integer" if kind is int else "a decimal", value)
    if value < low:
        wanted = f"{word} below minimum value. Expected a value >= {low}"
        code = f"{word}_below_min_value"
    elif high is not None and value > high:
        wanted = f"{word} above maximum value. Expected a value <= {high}"
        code = f"{word}_above_max_value"
    else:
        return
    shown = int(value) if value == value // 1 else value
    raise refused(f"Invalid '{param}': {wanted}, but got {shown} instead.", param, code)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
