"""Runs the relay's command under a profiler: ``profiled.py PROFILE ARGUMENT...``.

SIGUSR1 begins to profile, SIGUSR2 ends it and writes the profile.
"""

from __future__ import annotations

import cProfile
import signal
import sys

if __name__ == "__main__":
    from chatpb_server.running.main import main

    path = sys.argv.pop(1)
    profiler = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, lambda *_: profiler.dump_stats(path))
    main()
