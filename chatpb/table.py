"""The table: records as rows of Parquet, that DuckDB, pandas, Polars and Spark read as they are.

Needs the extra ``table``. docs/storage.md says what the columns are.
"""

from chatpb._columns import SCHEMA
from chatpb._dataset import Dataset, Part
from chatpb._dataset_errors import DatasetError, DatasetLockedError
from chatpb._dataset_writer import Added, DatasetWriter
from chatpb._table import batch_to_lines, from_batch, json_to_batch, to_batch

__all__ = [
    "SCHEMA",
    "Added",
    "Dataset",
    "DatasetError",
    "DatasetLockedError",
    "DatasetWriter",
    "Part",
    "batch_to_lines",
    "from_batch",
    "json_to_batch",
    "to_batch",
]
