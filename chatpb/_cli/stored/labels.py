"""Labels of rows that are added to a table."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from chatpb.table import SCHEMA

_LABELS = "labels"


def with_labels(rows: pa.RecordBatch, labels: Mapping[str, str]) -> pa.RecordBatch:
    """Rows without labels, with these labels.

    Args:
        rows: The rows.
        labels: The labels; none leave the rows as they are.
    """
    if not labels:
        return rows
    pairs = sorted(labels.items())
    kind = SCHEMA.field(_LABELS).type
    values = pa.repeat(pa.scalar(pairs, kind), len(rows))
    return rows.set_column(rows.schema.get_field_index(_LABELS), SCHEMA.field(_LABELS), values)
