"""Python's garbage collector, whose longest runs hold the event loop."""

from __future__ import annotations

import gc
from typing import Final

#: After how many more objects than before it looks at the new ones. Python's own 700 would be two
#: or three calls, for nothing: what calls leave behind is freed without it.
_NEW: Final = 10_000
#: The same while a relay starts: modules make many objects and leave none.
_AT_START: Final = 100_000


def collect_rarely() -> None:
    """Lets a process import its modules with few collections, which were an eighth of its start."""
    gc.set_threshold(_AT_START)


def spare_what_stays() -> None:
    """Leaves what a relay has made at its start out of collections from now on.

    To look at all modules and classes takes 15 to 50 ms, each time. The others become rarer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
