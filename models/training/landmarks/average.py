"""Average the weights of runs that went on from one checkpoint, each on batches of its own.

    python average.py RUN/checkpoint.pt OTHER/checkpoint.pt … [--share 0.5]

Such weights lie in one valley, and their mean is better than any of them (Wortsman 2022, soups). So is, on pictures
unlike those of training, the mean with what training began from (Wortsman 2022, WiSE-FT): RUN/begun.pt of ``warm``,
which has no say in layers that were new. The first checkpoint is replaced, and keeps its optimizer; training may go on
from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--share", type=float, help="of the others together; else all count alike")
    arguments = parser.parse_args()
    state = torch.load(arguments.first)
    others = [torch.load(path) for path in arguments.others]
    share = len(others) / (len(others) + 1) if arguments.share is None else arguments.share
    for name, value in state["average"].items():
        if value.is_floating_point():
            there = [one["average"][name] for one in others if name not in one.get("new", ())]
            if there:
                value.lerp_(torch.stack(there).mean(0), share)
    state["net"] = {name: value.clone() for name, value in state["average"].items()}
    torch.save(state, arguments.first.with_suffix(".part"))
    arguments.first.with_suffix(".part").rename(arguments.first)


if __name__ == "__main__":
    main()
