"""Memory that the C library keeps although nothing uses it."""

from __future__ import annotations

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not


def trim() -> None:
    """Give unused pages back to the system. Takes some milliseconds.

    Pictures, faces and access units of all sizes come and go with every frame; the holes that they leave in the heap
    would otherwise make a process grow for hours.
    """
    if _trim is not None:
        _trim(0)
