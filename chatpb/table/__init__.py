"""The table: records as rows of a Delta Lake table, which DuckDB, pandas, Polars and Spark read.

Needs the extra ``table``. docs/storage.md describes the columns.
"""

from chatpb._extras import raise_hint
from chatpb._public import publish

try:
    from chatpb.table._care.delete import Deleted
    from chatpb.table._care.history import Commit
    from chatpb.table._care.optimize import Optimized
    from chatpb.table._care.vacuum import Vacuumed
    from chatpb.table._care.verify import Verified
    from chatpb.table._dataset import Dataset
    from chatpb.table._errors import DatasetConflictError, DatasetError, QueryError
    from chatpb.table._files.parts import Part
    from chatpb.table._rows.batches import batch_to_lines, from_batch, json_to_batch, to_batch
    from chatpb.table._rows.columns import SCHEMA
    from chatpb.table._writer import Added, DatasetWriter
except ModuleNotFoundError as missing:
    raise_hint("chatpb.table", missing)

__all__ = [
    "SCHEMA",
    "Added",
    "Commit",
    "Dataset",
    "DatasetConflictError",
    "DatasetError",
    "DatasetWriter",
    "Deleted",
    "Optimized",
    "Part",
    "QueryError",
    "Vacuumed",
    "Verified",
    "batch_to_lines",
    "from_batch",
    "json_to_batch",
    "to_batch",
]

publish("chatpb.table")
