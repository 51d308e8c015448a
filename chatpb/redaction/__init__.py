"""Redaction: texts lose what must not be stored, before a record of them is written.

A redactor is any callable of the type `Redactor`. A package offers one with an entry point of the
group `ENTRY_POINTS`; `PatternRedactor` is the one that chatpb itself offers, as ``patterns``.
Importing this module imports neither gRPC nor storage.
"""

from chatpb._public import publish
from chatpb.redaction._patterns import PatternRedactor
from chatpb.redaction._record import redact_record
from chatpb.redaction._redactor import ENTRY_POINTS, RedactionError, Redactor, load_redactor

__all__ = [
    "ENTRY_POINTS",
    "PatternRedactor",
    "RedactionError",
    "Redactor",
    "load_redactor",
    "redact_record",
]

publish("chatpb.redaction")
