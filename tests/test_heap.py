from __future__ import annotations

import gc
import os
import subprocess
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


SPLIT = """
import os, sys
from anonymizer import heap
if sys.argv[1] == "settled":
    heap.settle()
for _ in range(40):  # as glibc learns it: a block that is freed raises its threshold
    picture = bytearray(3 << 20)
    del picture
pictures, small = [], []
for _ in range(40):
    pictures.append(bytearray(3 << 20))
    small.append([bytearray(1000) for _ in range(200)])
del pictures
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or heap._option is None, reason="needs glibc")
def test_pictures_leave_no_holes_once_settled() -> None:
    loose, settled = (
        int(subprocess.run([sys.executable, "-c", SPLIT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("loose", "settled")
    )
    assert settled < loose - 80
