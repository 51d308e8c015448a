"""What a redactor is, and how it is found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from chatpb._errors import ChatpbError

#: The group of entry points of redactors.
ENTRY_POINTS: Final = "chatpb.redactors"


class RedactionError(ChatpbError):
    """A redactor that cannot be found, or that does not do what `Redactor` says.

    Args:
        message: What is wrong.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Redactor(Protocol):
    """Redacts the texts of one exchange.

    It is called in a process of its own, with one exchange at a time, and may keep state. If it
    raises, or takes too long, the texts are not stored at all.
    """

    def __call__(self, texts: Sequence[str], /) -> Sequence[str]:
        """Redacts texts.

        Args:
            texts: Everything in an exchange that can be text: contents of messages, arguments of
                tools, errors, names of members, and long numbers in JSON. What came in pieces is
                one text, and JSON is taken apart into the strings that it has. No text occurs
                twice.

        Returns:
            As many texts, in the same order.
        """
        ...


def load_redactor(name: str) -> Redactor:
    """Finds a redactor.

    Args:
        name: The name of an entry point, or ``module:attribute``. A class is called, without
            arguments, to get the redactor.

    Raises:
        RedactionError: There is none.
    """
    found: Any
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            found = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        else:
            [point] = entry_points(group=ENTRY_POINTS, name=name)
            found = point.load()
        if isinstance(found, type):
            found = found()
    except ValueError:
        raise RedactionError(f"no package offers a redactor {name!r}") from None
    except Exception as error:  # whatever the module of somebody else raises
        raise RedactionError(f"{name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise RedactionError(f"{name}: expected a callable, got {type(found).__name__}")
    redactor: Redactor = found
    return redactor
