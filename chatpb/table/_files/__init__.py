"""The Parquet files of a table."""
