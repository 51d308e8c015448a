"""The chatpb relay: chat completions over gRPC, answered by an upstream.

The parts, each a package: `core` handles a call, whoever brings it; `edges` bring calls, over gRPC
and HTTP; `upstreams` answer them; `watching` logs, measures and records; `access` decides who may
call; `running` reads the settings and runs the server. This module imports none of them, so that
the command can report which package is not installed.
"""
