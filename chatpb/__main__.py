"""Lets ``python -m chatpb`` run the command line."""

from chatpb._cli.main import main

main()
