"""Values that fit a JSON Schema, in the simple cases."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Final

_WORDS: Final = ("amber", "birch", "café", "delta", "ember", "fjord", "grove", "heron", "Zürich")
_MAX_DEPTH: Final = 6
_MAX_VALUES: Final = 1000
_MAX_LENGTH: Final = 1000
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaModel:
    """Makes up values that fit a schema.

    Types, enums, references, unions, required members, bounds of numbers and lengths, and common
    formats are followed; patterns, conditions and uniqueness are not. Schemas without end give
    values with one.
    """

    def __init__(self, schema: Any, rng: Random) -> None:
        self._root = schema
        self._rng = rng
        self._left = _MAX_VALUES

    def value(self) -> Any:
        """A value that fits the schema."""
        return self._value(self._root, 0)

    def _value(self, schema: Any, depth: int) -> Any:
        schema = self._resolve(schema)
        self._left -= 1
        deep = depth >= _MAX_DEPTH or self._left <= 0
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._pick(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list) and schema[word]:
                return self._value(self._branch(schema[word], deep), depth + 1)
        match _type(schema, deep):
            case "object":
                return self._object(schema, depth, deep)
            case "array":
                return self._array(schema, depth, deep)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema)

    def _resolve(self, schema: Any) -> dict[str, Any]:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
                break
            target: Any = self._root
            for step in schema["$ref"].removeprefix("#").split("/")[1:]:
                step = step.replace("~1", "/").replace("~0", "~")
                target = target.get(step) if isinstance(target, dict) else None
            schema = target
        if not isinstance(schema, dict) or "$ref" in schema:
            return {}
        resolved: dict[str, Any] = {}
        for part in schema.get("allOf") or ():
            resolved |= self._resolve(part)
        return resolved | schema

    def _branch(self, branches: list[Any], deep: bool) -> Any:
        if deep:
            branches = [b for b in branches if self._resolve(b).get("type") == "null"] or branches[
                :1
            ]
        return branches[0] if len(branches) == 1 else self._pick(branches)

    def _object(self, schema: dict[str, Any], depth: int, deep: bool) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        if depth > 2 * _MAX_DEPTH:
            return {}  # required members without end
        required = schema.get("required") or ()
        names = [name for name in properties if not deep or name in required]
        return {name: self._value(properties[name], depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int, deep: bool) -> list[Any]:
        usual = 0 if deep else 1
        high = int(schema.get("maxItems", _MAX_VALUES))
        low = int(schema.get("minItems", min(usual, high)))
        high = min(high, low + usual)
        count = min(low + int(self._rng.random() * (high - low + 1)), _MAX_VALUES)
        if depth > 2 * _MAX_DEPTH:
            return []
        return [self._value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _integer(self, schema: dict[str, Any]) -> int:
        low, high = _bounds(schema, 1)
        step = int(schema.get("multipleOf", 1)) or 1
        first, last = math.ceil(low / step), math.floor(high / step)
        return step * (first + int(self._rng.random() * (last - first + 1)))

    def _number(self, schema: dict[str, Any]) -> float:
        if "multipleOf" in schema:
            step = schema["multipleOf"] or 1
            low, high = _bounds(schema, step)
            first, last = math.ceil(low / step), math.floor(high / step)
            return float(step * (first + int(self._rng.random() * (last - first + 1))))
        low, high = _bounds(schema, 0)
        if "exclusiveMinimum" in schema or "exclusiveMaximum" in schema:
            return low + (high - low) * (0.25 + 0.5 * self._rng.random())
        value = round(low + (high - low) * self._rng.random(), 2)
        return float(min(max(value, low), high))

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        low = min(int(schema.get("minLength", 0)), _MAX_LENGTH)
        text = f"{self._pick(_WORDS)} {self._pick(_WORDS)}"
        while len(text) < low:
            text += f" {self._pick(_WORDS)}"
        return text[: max(int(schema.get("maxLength", _MAX_LENGTH)), low)]

    def _pick(self, values: Any) -> Any:
        return values[int(self._rng.random() * len(values))]


def _type(schema: dict[str, Any], deep: bool) -> Any:
    words = schema.get("type")
    if isinstance(words, list):
        if deep and "null" in words:
            return "null"
        words = next((word for word in words if word != "null"), "null")
    if words is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return words


def _bounds(schema: dict[str, Any], step: float) -> tuple[float, float]:
    """The least and the most that a number may be, ``step`` away from an exclusive bound."""
    low = schema.get("minimum")
    high = schema.get("maximum")
    if isinstance(schema.get("exclusiveMinimum"), (int, float)):
        low = schema["exclusiveMinimum"] + step
    if isinstance(schema.get("exclusiveMaximum"), (int, float)):
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None else min(0, high)
    return low, max(low, low + 100 if high is None else high)
