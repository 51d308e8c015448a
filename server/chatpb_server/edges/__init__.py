"""Who brings calls: gRPC and HTTP."""
