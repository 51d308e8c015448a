"""Lets ``python -m chatpb`` run the command line."""

from chatpb._main import main

main()
