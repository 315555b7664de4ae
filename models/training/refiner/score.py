"""What an exported refiner does to held-out portraits: is it nearer to the truth, and to the person underneath?

    python score.py ../shared RUN models/face_refiner.onnx [--sheet sheet.png]

Own pairs: the likeness loss (``losses.py``), of the drawing and refined. Other people's pairs: rank-1, how often the
nearest of all held-out portraits is the person underneath, and the mean cosine to them, by the recogniser that guided
(omz) and by one that only judges (y1, non-commercial, never trained or selected against). The sheet shows, chosen by
seed, pictures, drawings and refined drawings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parent.parent / "identities"))
import losses
from nets import recognisers
from train import Pairs

from anonymizer.synthesis.refiner import load


def bgr(luma: torch.Tensor, chroma: torch.Tensor) -> np.ndarray:
    """uint8 (n, 96, 96, 3) of luma (n, 1, 96, 96) and chroma (n, 2, 96, 96), scaled as in ``losses``."""
    ycc = torch.cat([luma, chroma[:, 1:], chroma[:, :1]], 1).permute(0, 2, 3, 1).numpy()
    steps = np.clip(np.rint((ycc + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.stack([cv2.cvtColor(one, cv2.COLOR_YCrCb2BGR) for one in steps])


def pictures(pairs: Pairs, index: np.ndarray, session: object) -> tuple[list[np.ndarray], list[torch.Tensor]]:
    """Of some pairs the picture, the drawing and the refined drawing, BGR; and the likeness loss of the last two."""
    faces, scenes, _ = pairs.at(index)
    luma, chroma = (torch.from_numpy(x) for x in session.run(["luma", "chroma"], {"faces": faces.numpy()}))  # type: ignore[attr-defined]
    plain = losses.scaled(faces[:, :1]), functional.avg_pool2d(losses.scaled(faces[:, 1:3]), 2)
    better = plain[0] + luma / 127.5, plain[1] + chroma / 127.5
    seen = losses.scaled(scenes)
    shown = [bgr(seen[:, :1], seen[:, 1:])] + [bgr(*losses.composed(faces, *one, scenes)) for one in (plain, better)]
    return shown, [losses.likeness(faces, *one, scenes) for one in (plain, better)]


def sheet(pairs: Pairs, session: object, seed: int = 0, columns: int = 12) -> np.ndarray:
    """Pictures, drawings and refined drawings of held-out portraits: two rows of own pairs, two of others."""
    rng = np.random.default_rng(seed)
    rows = []
    for every in (pairs.held, pairs.held, pairs.held_others, pairs.held_others):
        shown, _ = pictures(pairs, rng.choice(every, columns, replace=False), session)
        rows += [
            np.hstack([cv2.resize(one, (144, 144), interpolation=cv2.INTER_CUBIC) for one in row]) for row in shown
        ]
    return np.vstack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs, session = Pairs(options.run), load(options.model)
    _, (before, after) = pictures(pairs, pairs.held, session)
    print(f"{len(before)} held-out own pairs: likeness loss drawn {before.mean():.4f}, refined {after.mean():.4f}")
    shown, _ = pictures(pairs, pairs.held_others, session)
    five, who = pairs.five[pairs.held_others], pairs.portrait[pairs.held_others]
    for name, net in recognisers(options.shared).items():
        true, drawn, refined = (np.array([net(p, f) for p, f in zip(row, five, strict=True)]) for row in shown)
        line = []
        for vectors in (drawn, refined):
            nearest = who[(vectors @ true.T).argmax(1)]
            line.append(f"rank-1 {100 * (nearest == who).mean():.1f} %, cosine {(vectors * true).sum(1).mean():.4f}")
        chance = np.mean([(who == one).mean() for one in who])
        print(f"{name}: {len(who)} faces; drawn {line[0]}; refined {line[1]}; chance {100 * chance:.1f} %")
    if options.sheet:
        cv2.imwrite(str(options.sheet), sheet(pairs, session))


if __name__ == "__main__":
    main()
