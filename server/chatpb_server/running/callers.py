"""Who calls a relay: how its settings say that callers are identified."""

from __future__ import annotations

from chatpb_server.access.tls import caller_of
from chatpb_server.access.tokens import API_KEY, Tokens, token_in
from chatpb_server.core.call import Call
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.guard import Authenticate, Peer
from chatpb_server.running.settings import Settings


def authentication(settings: Settings) -> Authenticate | None:
    """Identifies callers by their tokens, or by their certificates, or not at all."""
    if settings.tokens is None:
        if settings.tls.client_ca is None:
            return None
        return lambda _, peer: caller_of(peer)
    tokens = Tokens(settings.tokens)

    def by_token(call: Call, peer: Peer) -> str:
        token = token_in(peer.invocation_metadata())
        if token is None:
            raise AuthenticationError(
                "The relay requires the metadata authorization: Bearer TOKEN. Over HTTP it is a"
                " header; Azure's clients send api-key: TOKEN."
            )
        name = tokens.name_of(token)
        if name is None:
            raise AuthenticationError("The relay does not know this token.")
        if call.metadata.get(API_KEY) == token:  # it is not passed on
            call.metadata = {k: v for k, v in call.metadata.items() if k != API_KEY}
        return name

    return by_token
