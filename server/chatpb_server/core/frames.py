"""What exceptions keep: the frames that they went through, and with these all of a request."""

from __future__ import annotations


def without_frames(error: BaseException, until: BaseException | None = None) -> None:
    """Lets an exception and its causes go of their frames, which often refer to it in turn.

    Such a circle stays until garbage is collected: at failures of long requests, many gigabytes.

    Args:
        error: It is not going to be logged.
        until: An exception that keeps its frames, if it is one of the causes.
    """
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is not None and one is not until and one.__traceback__ is not None:
            one.__traceback__ = None
            errors += (one.__cause__, one.__context__)
