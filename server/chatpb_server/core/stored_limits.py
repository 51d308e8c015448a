"""What the parameters of calls for stored completions may be, with the errors that OpenAI has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chatpb import ConversionError, to_dict
from chatpb.v1.stored_chat_completion_pb2 import ChatCompletionUpdate
from chatpb_server.core.explain import RefusalError

_LIMITS: Final = (1, 100)
_MOST_PAIRS: Final = 16
_KEY_CHARACTERS: Final = 64
_VALUE_CHARACTERS: Final = 512
_METADATA: Final = ChatCompletionUpdate.DESCRIPTOR.fields_by_number[
    ChatCompletionUpdate.METADATA_FIELD_NUMBER
].name


def check_limit(limit: int) -> int:
    """The most entries of a page, if they are given. OpenAI's SDKs send 0 in their own tests.

    Raises:
        RefusalError: They are too few or too many.
    """
    low, high = _LIMITS
    if limit < low:
        text = "integer below minimum value. Expected a value >="
        raise _refused("limit", f"{text} {low}, but got {limit} instead", "integer_below_min_value")
    if limit > high:
        text = "integer above maximum value. Expected a value <="
        raise _refused(
            "limit", f"{text} {high}, but got {limit} instead", "integer_above_max_value"
        )
    return limit


def metadata_in(update: ChatCompletionUpdate) -> dict[str, str]:
    """The metadata that a completion is to have. Null, as nothing, clears it.

    Raises:
        RefusalError: It is not an object, or has a value that is not a string.
    """
    try:
        pairs: Any = to_dict(update, allow_nan=True).get(_METADATA)
    except ConversionError:
        pairs = []
    if pairs is None:
        return {}
    if not isinstance(pairs, dict):
        raise _wrong_type("expected an object")
    for value in pairs.values():
        if not isinstance(value, str):
            raise _wrong_type("expected an object whose values are strings")
    return pairs


def check_metadata(pairs: Mapping[str, str]) -> None:
    """Checks metadata, as OpenAI limits it.

    Raises:
        RefusalError: It has too many pairs, or one that is too long.
    """
    if len(pairs) > _MOST_PAIRS:
        text = f"too many properties. Expected an object with at most {_MOST_PAIRS} properties"
        code = "object_above_max_properties"
        raise _refused(_METADATA, f"{text}, but got {len(pairs)} instead", code)
    for key, value in pairs.items():
        if "\0" in key + value:
            raise _refused(_METADATA, "got a NUL character", "invalid_value")
        if not _is_unicode(key + value):
            raise _refused(_METADATA, "got half of a surrogate pair", "invalid_value")
        if len(key) > _KEY_CHARACTERS:
            text = f"a key is too long. Expected a key with maximum length {_KEY_CHARACTERS}"
            code = "property_name_above_max_length"
            raise _refused(_METADATA, f"{text}, but got one with length {len(key)} instead", code)
        if len(value) > _VALUE_CHARACTERS:
            text = f"string too long. Expected a string with maximum length {_VALUE_CHARACTERS}"
            said = f"{text}, but got a string with length {len(value)} instead"
            raise _refused(_METADATA, said, "string_above_max_length")


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which have no UTF-8 and so are in no database."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(param: str, reason: str, code: str) -> RefusalError:
    return RefusalError(400, f"Invalid '{param}': {reason}.", code, param)


def _wrong_type(expected: str) -> RefusalError:
    text = f"Invalid type for '{_METADATA}': {expected}."
    return RefusalError(400, text, "invalid_type", _METADATA)
