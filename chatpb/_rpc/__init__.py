"""What the client, the transport and the relay share of gRPC."""
