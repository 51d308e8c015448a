"""Equality of JSON values, stricter than Python's."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any


def exact(text: bytes | str) -> Any:
    """A JSON text in a form that `==` compares as JSON values.

    Objects have no order; numbers with a fraction or an exponent are compared as doubles,
    integers as integers of any length; true is not 1; text with lone surrogates is kept.
    """
    return tagged(json.loads(text.lstrip(b"\xef\xbb\xbf") if isinstance(text, bytes) else text))


def tagged(value: Any) -> Any:
    """A JSON value in the form that `exact` returns."""
    if isinstance(value, dict):
        return {key: tagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [tagged(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, float) and not math.isfinite(value):
        return ("number", repr(value))
    return ("number", Decimal(value))
