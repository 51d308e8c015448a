"""The rpcs over HTTP, in the protocols Connect and gRPC-Web."""
