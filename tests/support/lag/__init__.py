"""How long the event loop of a relay is held, measured in the relay's own process.

    async with relay_process("--upstream", url) as relay:
        ...  # call relay.http or relay.channel
        held = await relay.held()
        assert held.callback < 0.02, held

The relay runs as its users start it, except that `support.lag.probe` is loaded first.
"""

from support.lag.control import Held, ProbedRelay, relay_process

__all__ = ["Held", "ProbedRelay", "relay_process"]
