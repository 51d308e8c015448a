"""Who watches calls: logs, metrics, traces, records."""
