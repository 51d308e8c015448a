"""The command ``serve``."""

from __future__ import annotations

import click


@click.command(
    short_help="Start a relay: chatpb-server, with the same flags.",
    add_help_option=False,  # the flags and the help are those of the server
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Start a relay, as chatpb-server does; it needs the extra chatpb[server].

    \b
      chatpb serve                                   the builtin model, on 127.0.0.1:50051
      chatpb serve --http 127.0.0.1:8080 --upstream http://127.0.0.1:8000/v1
      chatpb serve --help                            all flags
    """  # noqa: D301 (\b is click's mark of lines that keep their breaks)
    from chatpb_server.running.main import main  # the server is another extra

    main(arguments, "chatpb serve")
