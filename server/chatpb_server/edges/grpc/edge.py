"""The gRPC edge: the services with health, reflection and channelz on one port."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health

from chatpb_server.access.address import Address
from chatpb_server.core.budget import Budget
from chatpb_server.core.guard import Guard
from chatpb_server.core.limits import Limits
from chatpb_server.edges.grpc.health import Health
from chatpb_server.edges.grpc.inspection import Inspection
from chatpb_server.edges.grpc.messages import Messages
from chatpb_server.edges.grpc.rpcs import Rpcs
from chatpb_server.edges.grpc.runtime import events_at_once
from chatpb_server.edges.services import NAMES, Services

#: How many seconds longer than the grace period the runtime waits for calls to end.
_MARGIN: Final = 5.0
#: How many seconds a call that was accepted before the end may need to reach the guard.
_ARRIVING: Final = 0.1
#: How many times the limit of metadata gRPC itself takes, so that the relay can say what is wrong.
_METADATA_FACTOR: Final = 4
_NEVER: Final = 2**31 - 1
#: The requests of health, reflection and channelz have few bytes. A larger one, which has no room
#: here, may come for a moment before it is refused; that many can do so at once.
_SMALL_BYTES: Final = 1024 * 1024
_SMALL_MESSAGES: Final = 16


class GrpcEdge:
    """Serves the rpcs of the services, health and reflection.

    It is made where an event loop runs, and gRPC's server is made with it.

    Args:
        services: What answers.
        guard: Admits and bounds every call.
        inspecting: The same for the calls of reflection and channelz.
        limits: What bounds calls and connections.
        budget: Counts the bytes of requests.
        share_port: Whether other processes may serve the same port.
        channelz: Whether the state of the connections can be asked for.
    """

    def __init__(
        self,
        services: Services,
        guard: Guard,
        inspecting: Guard,
        *,
        limits: Limits,
        budget: Budget,
        share_port: bool,
        channelz: bool,
    ) -> None:
        self._guard = guard
        self._share_port = share_port
        with events_at_once():
            self._server = aio.server(options=_options(limits, share_port, channelz))
        self._messages = Messages(budget, limits)
        small = Messages(Budget(_SMALL_BYTES, _SMALL_BYTES), limits, quick=_SMALL_MESSAGES)
        self._health = Health(NAMES, small)
        self._inspection = Inspection(inspecting, small)
        names = (*NAMES, health.SERVICE_NAME)
        self._server.add_generic_rpc_handlers(
            (
                *Rpcs(services, guard, self._messages, limits.max_metadata_bytes).handlers(),
                self._health.handler(),
                *self._inspection.handlers(names, channelz=channelz),
            )
        )

    def bind(self, address: Address, credentials: grpc.ServerCredentials | None) -> int:
        """Takes a port, without serving yet.

        Args:
            address: Where; port 0 asks for a free one.
            credentials: For TLS. None: none.

        Returns:
            The port.

        Raises:
            AddressError: The address cannot be listened on.
        """
        if not self._share_port:
            address.check_free()
        try:
            if credentials is not None:
                return self._server.add_secure_port(str(address), credentials)
            return self._server.add_insecure_port(str(address))
        except RuntimeError:  # taken since it was checked
            raise address.listen_error() from None

    async def start(self) -> None:
        """Serves."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Reports NOT_SERVING, accepts no more calls, and ends those that run in the grace period.

        The calls of all edges that share the guard are waited for.

        Args:
            grace: How many seconds the running calls may take to finish. None: they end at once.
        """
        self._health.stop()
        # The runtime cancels calls without a status for their callers, so it gets a longer grace
        # period than the guard.
        stopping = asyncio.ensure_future(self._server.stop((grace or 0) + _MARGIN))
        try:
            if grace:  # ends sooner if the runtime has no call at all
                await asyncio.wait({stopping}, timeout=min(grace, _ARRIVING))
            self._messages.stop()
            await self._inspection.stop()
            await self._guard.stop(grace)
            if grace:  # the guard refuses what still arrives, and says that others may be asked
                await asyncio.wait({stopping}, timeout=_ARRIVING)
        finally:
            await self._inspection.stop()
            await self._guard.stop(None)
            await self._server.stop(None)
            await stopping


def _options(limits: Limits, share_port: bool, channelz: bool) -> tuple[tuple[str, Any], ...]:
    # gRPC refuses metadata itself, without an error object, only when there is far too much of it.
    # Between two limits it would refuse at random.
    most_metadata = _METADATA_FACTOR * limits.max_metadata_bytes
    calls = limits.max_running + limits.max_waiting
    return (
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_metadata_size", most_metadata),
        ("grpc.absolute_max_metadata_size", most_metadata),
        # Of a message that is not asked for yet, 64 KiB are taken. With probes it would be 4 MiB.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", limits.streams),
        # Of calls that have not reached the guard, gRPC would cancel some at random from 1,000 on,
        # and all from 3,000 on. The guard knows better what to refuse, and why.
        ("grpc.server.max_pending_requests", max(1000, calls)),
        ("grpc.server.max_pending_requests_hard_limit", max(3000, calls * 3 // 2)),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_connection_idle_ms", _milliseconds(limits.idle_timeout)),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.head_timeout)),
        # Two relays on one port would share the calls between them by accident.
        ("grpc.so_reuseport", int(share_port)),
        # By default a client that pings every 30 seconds while it waits for a slow model is
        # disconnected.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A connection whose other end does not answer is closed.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),  # without it, a minute
        ("grpc.enable_channelz", int(channelz)),
    )


def _milliseconds(seconds: float) -> int:
    """A time limit for gRPC, which has no limit if it is 0."""
    return min(round(seconds * 1000), _NEVER) if seconds else _NEVER
