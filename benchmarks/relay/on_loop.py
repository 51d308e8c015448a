"""Runs the relay's command on an event loop: ``on_loop.py asyncio|uvloop ARGUMENT...``."""

from __future__ import annotations

import asyncio
import importlib
import sys
import warnings

if __name__ == "__main__":
    from chatpb_server.running.main import main

    if sys.argv.pop(1) == "uvloop":
        warnings.simplefilter("ignore", DeprecationWarning)  # policies go with Python 3.16
        asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())
    main()
