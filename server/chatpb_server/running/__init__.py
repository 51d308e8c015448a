"""How a relay is configured, built and run."""

from typing import Final

#: How the command is called, unless it is a part of another one.
NAME: Final = "chatpb-server"
