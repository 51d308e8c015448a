"""The parts of gRPC that the client, the transport and the relay share."""
