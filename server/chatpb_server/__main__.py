"""Lets ``python -m chatpb_server`` run the command line."""

from chatpb_server.running.main import main

main()
