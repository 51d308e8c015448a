"""Arguments of a command line of the form ``KEY=VALUE``."""

from __future__ import annotations


def key_and_value(text: str) -> tuple[str, str]:
    """Splits ``KEY=VALUE`` at its first ``=``.

    Raises:
        ValueError: There is no ``=``, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value
