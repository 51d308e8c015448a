"""Calls of servers: how one is reached, over gRPC or HTTP, and what is reported of a call."""
