"""What the target of a request can be, to be passed on: a path that stays where it is put."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote

from chatpb_server.core.explain import RefusalError

#: A path and a query of the characters that HTTP lets them have, every one that is left.
_TARGET: Final = re.compile(r"/[!$-\[\]_a-z|~]*(\?[!-\"$-~]*)?")
_NOT_ENCODED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: How many times a path may be encoded. Servers that decode twice are known.
_MOST_DECODINGS: Final = 4
_CHAT: Final = "/chat/completions"


def check_target(method: str, target: str) -> None:
    """Makes sure that no server takes a target for another place than the relay does.

    Args:
        method: The method of the request.
        target: Its target, as it was sent.

    Raises:
        RefusalError: A server might: it names another host, or goes up by ``..``, encoded, even
            more than once, or as some servers understand it; or it asks for a chat completion,
            which would be neither routed nor recorded as one.
    """
    if not _TARGET.fullmatch(target):
        raise _refusal()
    path = target.partition("?")[0]
    if _NOT_ENCODED.search(path):
        raise _refusal()
    for _ in range(_MOST_DECODINGS):
        if not _is_plain(path):
            raise _refusal()
        try:
            decoded = unquote(path, errors="strict")
        except UnicodeDecodeError:
            raise _refusal() from None
        if decoded == path:
            break
        path = decoded
    else:
        raise _refusal()
    if method == "POST" and _without_parameters(path).rstrip("/").casefold().endswith(_CHAT):
        text = f"Chat completions are at /v1{_CHAT}, in these letters."
        raise RefusalError(400, text, "invalid_path")


def _is_plain(path: str) -> bool:
    """Whether a path has no part that is empty, or stands for another folder."""
    path = normalize("NFKC", path)  # some letters become dots and strokes
    if "\\" in path or "//" in path or _CONTROL.search(path):
        return False
    return not any(part.strip() in (".", "..") for part in _without_parameters(path).split("/"))


def _without_parameters(path: str) -> str:
    """A path without what follows semicolons, which some servers take away first."""
    return "/".join(part.partition(";")[0] for part in path.split("/"))


def _refusal() -> RefusalError:
    text = "The path of the request cannot be passed on: expected one without .., // and \\."
    return RefusalError(400, text, "invalid_path")
