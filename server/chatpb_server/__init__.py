"""The chatpb relay: chat completions over gRPC, answered by an upstream.

The parts, each in a module of its own: `app` runs the server, `service` answers the rpcs,
`upstream` says what an upstream is, `builtin` is one that needs no network, and `interceptor` turns
errors into statuses. This module imports none of them, so that the script can say what is not
installed.
"""
