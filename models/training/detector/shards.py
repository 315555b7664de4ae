"""Drawn pictures on disk, a ring of shards: ``python shards.py WORK`` (views.py cuts its views from them).

A shard is two files: ``NNNN.npy`` uint8 (COUNT, SIDE, SIDE, 3) BGR, and ``NNNN.npz`` with ``rows`` float32 (M, 16) and
``first`` int64 (COUNT + 1), the labels of picture k being rows[first[k]:first[k + 1]].
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from pictures import Pictures

COUNT = 480


def generate(work: Path, seed: int, keep: int, total: int, limit: int = 0, count: int = COUNT) -> None:
    """Write ``total`` shards, the ring holding ``keep`` of them."""
    cv2.setNumThreads(1)
    folder = work / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    made = len(list(folder.glob("[0-9]*.npz")))
    source = Pictures(work, seed + 1000 * made, limit)
    for k in range(made, total) if made < keep else range(made, made + total):
        start = time.process_time()
        pictures, rows, first = [], [], [0]
        while len(pictures) < count:
            for picture, found in source.batch():
                pictures.append(picture)
                rows.append(found)
                first.append(first[-1] + len(found))
        name = folder / f"{k % keep:04d}"
        np.save(f"{name}.tmp.npy", np.stack(pictures[:count]))
        np.savez(f"{name}.tmp.npz", rows=np.concatenate(rows), first=np.array(first))
        os.replace(f"{name}.tmp.npy", f"{name}.npy")
        os.replace(f"{name}.tmp.npz", f"{name}.npz")
        print(k, f"{(time.process_time() - start) / count * 1e3:.0f} ms a picture", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=44, help="shards in the ring")
    parser.add_argument("--total", type=int, default=400)
    args = parser.parse_args()
    generate(args.work, args.seed, args.keep, args.total)


if __name__ == "__main__":
    main()
