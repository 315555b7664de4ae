from __future__ import annotations

import gc
import os
import sys

import pytest

from anonymizer import heap


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux") or heap._trim is None, reason="needs glibc")
def test_holes_in_the_heap_are_given_back() -> None:
    kept = [(bytearray(60_000), bytearray(100)) for _ in range(1500)]
    last = bytearray(100)  # above the holes, so that the heap cannot shrink by itself
    small = [one for _, one in kept]
    before = resident()
    del kept
    gc.collect()
    heap.trim()
    assert before - resident() > 40 << 20
    assert len(small) == 1500 and len(last) == 100
