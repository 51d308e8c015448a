"""llama.cpp with a small model, what it is asked in the tests, and what it really sent."""

from support.llama.server import VARIABLE, Llama, folder, serving
from support.llama.tee import Exchange, Tee

__all__ = ["VARIABLE", "Exchange", "Llama", "Tee", "folder", "serving"]
