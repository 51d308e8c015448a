"""Python's garbage collector, whose longest runs hold the event loop."""

from __future__ import annotations

import gc


def spare_what_stays() -> None:
    """Leaves what a relay has made at its start out of collections from now on.

    To look at all modules and classes takes 15 to 50 ms, each time.
    """
    gc.collect()
    gc.freeze()
