"""Memory that the C library keeps although nothing uses it."""

from __future__ import annotations

import ctypes

_library = ctypes.CDLL(None)
_trim = getattr(_library, "malloc_trim", None)  # glibc has it, musl has not
_option = getattr(_library, "mallopt", None)

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h


def settle() -> None:
    """Keep pictures out of the heap, for a process that runs for months. To be called before its threads start.

    Left alone, glibc learns to put blocks of up to 32 MB into the heap, one heap for each thread. Whole pictures and
    the small things beside them then make holes that grow by megabytes a second until they are trimmed: a 1080p worker
    of 250 MB had 450 after twenty seconds. From a megabyte on a block gets pages of its own, for 2 % of the time.
    """
    if _option is not None:
        _option(_MMAP_THRESHOLD, 1 << 20)
        _option(_TRIM_THRESHOLD, 16 << 20)  # setting either ends the learning of both
        _option(_ARENA_MAX, 2)


def trim() -> None:
    """Give unused pages back to the system. Takes some milliseconds.

    Pictures, faces and access units of all sizes come and go with every frame; the holes that they leave in the heap
    would otherwise make a process grow for hours.
    """
    if _trim is not None:
        _trim(0)
