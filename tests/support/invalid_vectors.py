"""The golden vectors of what must be refused, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from chatpb import ConversionError, binary_to_json, json_to_binary, v1

INVALID: Final = Path(__file__).parents[1] / "vectors" / "invalid"
MANIFEST: Final = INVALID / "manifest.json"
#: What languages may add to a reason: what to do, such as the name of an option, and an excerpt
#: of the text with a quote or a character beyond ASCII, which they quote in their own ways.
_OWN: Final = re.compile(r"""; pass .*|, got (?:".*|'.*(?:[^ -~]|\\x[89a-f]|\\u).*)""", re.S)
_ENDINGS: Final = {"json": ".json", "binary": ".binpb"}


@dataclass(frozen=True)
class InvalidVector:
    """A text or bytes that must be refused, as `invalid/manifest.json` lists them.

    Attributes:
        name: The name of its file, without the ending.
        form: `json` or `binary`.
        message_type: The class of the message.
        entry: Its entry in the manifest.
    """

    name: str
    form: str
    message_type: type[Message]
    entry: dict[str, Any]

    @property
    def path(self) -> Path:
        """Its file, which is written by hand."""
        return INVALID / f"{self.name}{_ENDINGS[self.form]}"

    @property
    def error(self) -> ConversionError:
        """The error with which it is refused."""
        convert = json_to_binary if self.form == "json" else binary_to_json
        try:
            convert(self.path.read_bytes(), self.message_type)
        except ConversionError as error:
            return error
        raise AssertionError(f"{self.name} is not refused")


def invalid_vectors() -> list[InvalidVector]:
    """The vectors of what must be refused."""
    return [
        InvalidVector(
            entry["name"],
            entry["form"],
            getattr(v1, entry["message_type"].removeprefix("chatpb.v1.")),
            entry,
        )
        for entry in json.loads(MANIFEST.read_bytes())
    ]


def shared(reason: str) -> str:
    """The part of a reason that all languages agree on."""
    return _OWN.sub("", reason)


def agrees(error: ConversionError, entry: dict[str, Any]) -> bool:
    """Whether an error is the one of the manifest, but for what languages may add to the reason."""
    found = (error.path, error.offset, shared(error.reason))
    return found == (entry["path"], entry.get("offset"), entry["reason"])


def golden() -> Iterator[tuple[Path, bytes]]:
    """The manifest with the errors."""
    lines = []
    for vector in invalid_vectors():
        error = vector.error
        entry = {name: vector.entry[name] for name in ("name", "form", "message_type")}
        entry["path"] = error.path
        if error.offset is not None:
            entry["offset"] = error.offset
        entry["reason"] = shared(error.reason)
        entry["purpose"] = vector.entry["purpose"]
        lines.append(json.dumps(entry, ensure_ascii=False))
    yield MANIFEST, ("[\n  " + ",\n  ".join(lines) + "\n]\n").encode()
