"""The gRPC port: the services of chatpb, health, reflection and channelz."""
