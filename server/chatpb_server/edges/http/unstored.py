"""What an event stream says of a completion that was not stored: a comment, before its end."""

from __future__ import annotations

import re
from typing import Final

from chatpb_server.core.headers import NOT_STORED, STORED_HEADER

#: Clients skip it.
COMMENT: Final = f": {STORED_HEADER}: {NOT_STORED}\n".encode()
BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_END: Final = b"data: [DONE]"
#: The line that ends the stream. Raw line breaks are never within JSON.
_ENDING: Final = re.compile(rb"(?:\A|(?<=[\r\n]))data: ?\[DONE\]")


class EventText:
    """The text of an event stream whose completion is to be stored.

    Of each piece the last bytes are kept for the next if the line that ends the stream may have
    begun with them: the comment has to be before it.
    """

    def __init__(self) -> None:
        self._kept = b""

    def piece(self, text: bytes, *, is_end: bool, is_unstored: bool) -> bytes:
        """What to write for a piece, with the comment if it is the end.

        Args:
            text: The piece.
            is_end: Whether the line that ends the stream is in it, or ends in it.
            is_unstored: Whether the completion was not stored.
        """
        text, self._kept = self._kept + text, b""
        if not is_end:
            start = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            line = text[start:]
            if line and _END.startswith(line):
                text, self._kept = text[:start], line
            return text
        if not is_unstored:
            return text
        found = _ENDING.search(text)
        at = len(text) if found is None else found.start()
        # A comment is a line. Alone between blank lines, it is not a part of an event.
        is_between = not at or text[:at].endswith(BLANK_LINES)
        return text[:at] + COMMENT + (b"\n" if is_between else b"") + text[at:]

    def rest(self) -> bytes:
        """What was kept of the last piece."""
        kept, self._kept = self._kept, b""
        return kept
