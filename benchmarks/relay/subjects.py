"""The servers that are measured, each started as its users start it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.load import Load
from relay.processes import environment, listening, started, wait_for

DIRECT: Final = "direct"
PASSTHROUGH: Final = "grpc.aio pass-through"
RELAY: Final = "chatpb relay"
EDGE: Final = "HTTP edge"
TWO: Final = "HTTP edge, relay"
PAIR: Final = "relay, relay"
LITELLM: Final = "LiteLLM's proxy"
SUBJECTS: Final = (
    DIRECT,
    PASSTHROUGH,
    RELAY,
    PAIR,
    EDGE,
    TWO,
    LITELLM,
)  # in the order of the tables
LITELLM_COMMAND: Final = Path(".venv-litellm/bin/litellm")
_RELAY_COMMAND: Final = Path(sys.executable).parent / "chatpb-server"


@dataclass(frozen=True)
class Subject:
    """A server that answers.

    Attributes:
        name: What the tables call it.
        grpc: Whether it speaks gRPC.
        port: Where it listens, on 127.0.0.1.
        pid: The process whose use is watched.
        key: The bearer token that it requires.
        compact: Whether it is asked for compact chunks.
    """

    name: str
    grpc: bool
    port: int
    pid: int
    key: str = "none"
    compact: bool = False


@dataclass(frozen=True)
class Stage:
    """What all subjects need.

    Attributes:
        folder: Where their logs go.
        direct: The upstream, called without anything between.
        grpc_port: Where the upstream speaks gRPC.
        load: What calls them.
    """

    folder: Path
    direct: Subject
    grpc_port: int
    load: Load

    @contextlib.contextmanager
    def subject(self, name: str, profile: Path | None = None) -> Iterator[Subject]:
        """Runs a subject for as long as the context lasts.

        Args:
            name: Which.
            profile: Where the relay leaves a profile of its main thread, if it shall.
        """
        if name == DIRECT:
            yield self.direct
            return
        log = self.folder / f"{name.split()[0].lower()}.log"
        if name == LITELLM:
            with self._litellm(log) as subject:
                yield subject
            return
        if name in (EDGE, TWO):
            with self._edge(name) as subject:
                yield subject
            return
        if name == PAIR:
            with self._pair() as subject:
                yield subject
            return
        command: list[str | Path] = [sys.executable, "-P", "-m", "relay.passthrough"]
        arguments = [f"127.0.0.1:{self.grpc_port}"]
        env = dict(os.environ)
        if name == RELAY:
            command = [_RELAY_COMMAND]
            env = environment()
            if profile:
                command = [sys.executable, "-P", Path(__file__).with_name("profiled.py"), profile]
            upstream = f"http://127.0.0.1:{self.direct.port}/v1"
            arguments = ["--listen", "127.0.0.1:0", "--upstream", upstream]
        with started([*command, *arguments], env, log) as process:
            [address] = listening(process, log)
            yield Subject(name, True, int(address.rpartition(":")[2]), process.pid)

    @contextlib.contextmanager
    def _edge(self, name: str) -> Iterator[Subject]:
        """A relay called over HTTP, before the upstream or before another relay."""
        with contextlib.ExitStack() as stack:
            upstream = f"http://127.0.0.1:{self.direct.port}/v1"
            if name == TWO:
                upstream = f"grpc://127.0.0.1:{stack.enter_context(self.subject(RELAY)).port}"
            flags = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--upstream", upstream)
            log = self.folder / f"edge-{len(name)}.log"
            command: list[str | Path] = [_RELAY_COMMAND, *flags]
            process = stack.enter_context(started(command, environment(), log))
            listening(process, log)
            assert process.stdout
            url = process.stdout.readline().decode().split()[-1]  # http on http://HOST:PORT/v1
            yield Subject(name, False, int(url.rpartition(":")[2].partition("/")[0]), process.pid)

    @contextlib.contextmanager
    def _pair(self) -> Iterator[Subject]:
        """A relay called over gRPC, as the client of chatpb does it, before another relay."""
        with self.subject(RELAY) as core:
            flags = ("--listen", "127.0.0.1:0", "--upstream", f"grpc://127.0.0.1:{core.port}")
            log = self.folder / "pair.log"
            with started([_RELAY_COMMAND, *flags], environment(), log) as process:
                [address] = listening(process, log)
                port = int(address.rpartition(":")[2])
                yield Subject(PAIR, True, port, process.pid, compact=True)

    @contextlib.contextmanager
    def _litellm(self, log: Path) -> Iterator[Subject]:
        parameters = {
            "model": "openai/*",
            "api_base": f"http://127.0.0.1:{self.direct.port}/v1",
            "api_key": "none",
        }
        # YAML, which JSON is too.
        config = self.folder / "litellm.json"
        models = [{"model_name": "*", "litellm_params": parameters}]
        config.write_text(json.dumps({"model_list": models}))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        arguments = f"--host 127.0.0.1 --port {port} --num_workers 1 --telemetry False"
        command = [str(LITELLM_COMMAND), "--config", str(config), *arguments.split()]
        key = f"sk-{secrets.token_hex(32)}"  # without one it does not start
        env = environment(
            LITELLM_MASTER_KEY=key,
            LITELLM_LOCAL_MODEL_COST_MAP="True",  # nothing is fetched from elsewhere
            LITELLM_LOG="ERROR",
        )
        with started(command, env, log) as process:
            wait_for(process, port, log)
            yield Subject(LITELLM, False, port, process.pid, key)


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Starts the upstream and the load generator."""
    with contextlib.ExitStack() as stack:

        def start(module: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-P", "-m", f"relay.{module}"]
            return stack.enter_context(started(command, os.environ, folder / f"{module}.log"))

        upstream = start("upstream")
        http, grpc = listening(upstream, folder / "upstream.log")
        direct = Subject(DIRECT, False, int(http.rpartition(":")[2]), upstream.pid)
        yield Stage(folder, direct, int(grpc.rpartition(":")[2]), Load(start("load")))


def missing(name: str) -> str:
    """Why a subject cannot be measured; nothing if it can."""
    commands = {LITELLM: LITELLM_COMMAND, **dict.fromkeys((RELAY, PAIR, EDGE, TWO), _RELAY_COMMAND)}
    return "" if name not in commands or commands[name].exists() else "not installed"
