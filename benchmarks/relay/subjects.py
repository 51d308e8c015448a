"""The servers that are measured, each started as its users start it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay import peers
from relay.load import Load
from relay.plan import Plan
from relay.processes import environment, listening, started
from relay.subject import (
    DIRECT,
    EDGE,
    ENVOY,
    LITELLM,
    PAIR,
    PASSTHROUGH,
    RELAY,
    TENSORZERO,
    TWO,
    Subject,
)

SUBJECTS: Final = (
    DIRECT,
    PASSTHROUGH,
    RELAY,
    PAIR,
    EDGE,
    TWO,
    ENVOY,
    TENSORZERO,
    LITELLM,
)  # in the order of the tables
_RELAY_COMMAND: Final = Path(sys.executable).parent / "chatpb-server"


@dataclass(frozen=True)
class Stage:
    """What all subjects need.

    Attributes:
        folder: Where their logs go.
        direct: The upstream, called without anything between.
        grpc_port: Where the upstream speaks gRPC.
        load: What calls them.
        plans: How the upstream will be asked to answer.
    """

    folder: Path
    direct: Subject
    grpc_port: int
    load: Load
    plans: frozenset[Plan] = frozenset()

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
        others = {
            LITELLM: lambda: peers.litellm(self.folder, self.direct),
            TENSORZERO: lambda: peers.tensorzero(self.folder, self.direct, self.plans),
            ENVOY: lambda: peers.envoy(self.folder, self.direct, self.grpc_port),
            EDGE: lambda: self._edge(name),
            TWO: lambda: self._edge(name),
            PAIR: self._pair,
        }
        if name in others:
            with others[name]() as subject:
                yield subject
            return
        log = self.folder / f"{name.split()[0].lower()}.log"
        command: list[str | Path] = [sys.executable, "-P", "-m", "relay.passthrough"]
        arguments = [f"127.0.0.1:{self.grpc_port}"]
        env = dict(os.environ)
        if name == RELAY:
            command = [_RELAY_COMMAND]
            env = environment()
            if profile:
                command = [sys.executable, "-P", Path(__file__).with_name("profiled.py"), profile]
            arguments = ["--listen", "127.0.0.1:0", "--upstream", self._http_upstream]
        with started([*command, *arguments], env, log) as process:
            [address] = listening(process, log)
            port = int(address.rpartition(":")[2])
            yield Subject(name, True, port, (process.pid,), self.direct.upstream)

    @contextlib.contextmanager
    def relay(
        self, *flags: str, command: Sequence[str | Path] = (_RELAY_COMMAND,)
    ) -> Iterator[tuple[Subject, Subject]]:
        """A relay, as it is called over gRPC and over HTTP.

        Args:
            flags: Its flags, without those of addresses.
            command: What runs it.
        """
        log = self.folder / f"{secrets.token_hex(4)}.log"
        with self._started(log, self._http_upstream, *flags, command=command) as started_relay:
            process, grpc, http = started_relay
            rest = ((process.pid,), self.direct.upstream)
            yield Subject(RELAY, True, grpc, *rest), Subject(EDGE, False, http, *rest)

    @property
    def _http_upstream(self) -> str:
        return f"http://127.0.0.1:{self.direct.port}/v1"

    @contextlib.contextmanager
    def _started(
        self,
        log: Path,
        upstream: str,
        *flags: str,
        command: Sequence[str | Path] = (_RELAY_COMMAND,),
    ) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
        """A relay with both edges: its process, its port for gRPC and the one for HTTP."""
        listen = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
        arguments = (*listen, "--upstream", upstream, *flags)
        with started([*command, *arguments], environment(), log) as process:
            [grpc] = listening(process, log)
            assert process.stdout
            url = process.stdout.readline().decode().split()[-1]  # http on http://HOST:PORT/v1
            ports = (address.rpartition(":")[2].partition("/")[0] for address in (grpc, url))
            yield (process, *map(int, ports))  # type: ignore[misc]

    @contextlib.contextmanager
    def _edge(self, name: str) -> Iterator[Subject]:
        """A relay called over HTTP, before the upstream or before another relay."""
        with contextlib.ExitStack() as stack:
            upstream = self._http_upstream
            behind: tuple[int, ...] = ()
            if name == TWO:
                core = stack.enter_context(self.subject(RELAY))
                upstream, behind = f"grpc://127.0.0.1:{core.port}", core.pids
            started = self._started(self.folder / f"edge-{len(name)}.log", upstream)
            process, _, port = stack.enter_context(started)
            yield Subject(name, False, port, (process.pid, *behind), self.direct.upstream)

    @contextlib.contextmanager
    def _pair(self) -> Iterator[Subject]:
        """A relay called over gRPC, as the client of chatpb does it, before another relay."""
        with self.subject(RELAY) as core:
            flags = ("--listen", "127.0.0.1:0", "--upstream", f"grpc://127.0.0.1:{core.port}")
            log = self.folder / "pair.log"
            with started([_RELAY_COMMAND, *flags], environment(), log) as process:
                [address] = listening(process, log)
                port = int(address.rpartition(":")[2])
                pids = (process.pid, *core.pids)
                yield Subject(PAIR, True, port, pids, self.direct.upstream, compact=True)


@contextlib.contextmanager
def stage(folder: Path, plans: Iterable[Plan] = ()) -> Iterator[Stage]:
    """Starts the upstream and the load generator.

    Args:
        folder: Where logs go.
        plans: How the upstream will be asked to answer, for those that must know its models.
    """
    with contextlib.ExitStack() as stack:

        def start(module: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-P", "-m", f"relay.{module}"]
            return stack.enter_context(started(command, os.environ, folder / f"{module}.log"))

        upstream = start("upstream")
        http, grpc = listening(upstream, folder / "upstream.log")
        ports = [int(address.rpartition(":")[2]) for address in (http, grpc)]
        direct = Subject(DIRECT, False, ports[0], (upstream.pid,), upstream.pid)
        yield Stage(folder, direct, ports[1], Load(start("load")), frozenset(plans))


def missing(name: str) -> str:
    """Why a subject cannot be measured; nothing if it can."""
    if name in peers.OPTIONS.values():
        return peers.missing(name)
    needed = name in (RELAY, PAIR, EDGE, TWO)
    return "not installed" if needed and not _RELAY_COMMAND.exists() else ""
