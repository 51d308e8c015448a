"""Server-sent events, as OpenAI-compatible servers send them.

Follows the event stream format of the HTML standard
(https://html.spec.whatwg.org/multipage/server-sent-events.html), and accepts what real servers
send in addition: a last event without a blank line after it, JSON texts without one between, `DONE`
with white space around it, and comments that were wrapped as data (``data: : PROCESSING``), which
are left out as other comments are. `Decoder` and `Event.is_error` decide what an event is, for all
that read streams.
"""

from __future__ import annotations

from chatpb._public import publish
from chatpb.sse._chunks import ChunkDecoder
from chatpb.sse._decoder import DONE, Decoder, Event, event, is_error

__all__ = ["DONE", "ChunkDecoder", "Decoder", "Event", "event", "is_error"]

publish("chatpb.sse")
