"""The SQL of tables: DuckDB with views over their files. Needs the extra ``sql``."""
