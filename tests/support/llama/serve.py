"""llama.cpp's own server as a process, from the package `xllamacpp`: `python serve.py MODEL`.

It runs in an environment of its own, without this repository. Prints the base URL of its server
when the model is loaded, and ends with its standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def parameters(model: str) -> Any:
    """How the server runs: small, quiet, and on one core, so that the tests have the other one.

    With a thread for each core, the threads wait for each other at every layer: on a machine that
    does anything else that is several times slower than one thread.
    """
    import xllamacpp

    found = xllamacpp.CommonParams()
    found.model.path = model
    found.model_alias = {"gemma-3-270m"}
    # The model was not taught to chat; with this template llama.cpp parses its calls of tools.
    found.chat_template = Path(__file__).with_name("template.jinja").read_text("utf-8")
    found.hostnames = ["127.0.0.1"]
    found.port = 0
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = 1
    found.n_ctx = 2048
    found.n_parallel = 4
    found.kv_unified = True
    found.fit_params = found.warmup = found.ui = False
    found.offline = found.endpoint_slots = found.endpoint_metrics = True
    found.verbosity = 0
    return found


def main(model: str) -> None:
    """Serves until standard input ends."""
    import xllamacpp

    server = xllamacpp.Server(parameters(model))
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
