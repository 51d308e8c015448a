"""The JSON text of what an upstream sent, for callers over HTTP."""

from __future__ import annotations

from typing import Any

from chatpb import ConversionError, binary_to_json


def json_of(data: bytes, message_type: Any) -> bytes:
    """The JSON text of a message in binary form, with NaN where an upstream has written it.

    Raises:
        ConversionError: The message has no JSON form.
    """
    try:
        return binary_to_json(data, message_type)
    except ConversionError:  # NaN is not JSON, but some servers send it
        return binary_to_json(data, message_type, allow_nan=True)
