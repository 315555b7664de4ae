"""Sheets of anonymised faces, chosen by seed and not by hand, in classes of height."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer import boxes
from anonymizer.evaluate import pixels
from anonymizer.evaluate.scene import Scene, Subject
from anonymizer.frame import U8

CLASSES = ((24, 20, 32), (48, 36, 64), (96, 72, 128), (160, 128, 1000))
"""Name, least and greatest height of a class, pixels."""

TILE = 160
COLUMNS = 6
ROWS = 2
_MARGIN = 0.15


class Sheet:
    """Keeps a random sample of the faces of each class (reservoir sampling, Vitter 1985).

    Only faces that a report says were hidden and whose pixels bear it out come on a sheet, and only where nobody else's
    face reaches into the crop unhidden: a report of the proof must not show whom it speaks of.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._tiles: dict[int, list[U8]] = {name: [] for name, _, _ in CLASSES}
        self._seen = dict.fromkeys(self._tiles, 0)

    def see(self, scene: Scene) -> None:
        for subject in scene.subjects:
            for name, low, high in CLASSES:
                if not low <= subject.known.box[3] < high:
                    continue
                tile = self._tile(scene, subject)
                if tile is None:
                    continue
                self._seen[name] += 1
                kept = self._tiles[name]
                if len(kept) < ROWS * COLUMNS:
                    kept.append(tile)
                elif (place := int(self._random.integers(self._seen[name]))) < ROWS * COLUMNS:
                    kept[place] = tile

    @staticmethod
    def _tile(scene: Scene, subject: Subject) -> U8 | None:
        if not _hidden(scene, subject) or subject.told is None:
            return None
        x, y, w, h = boxes.grown(subject.told.box, _MARGIN)
        side = max(w, h)
        crop = x + (w - side) / 2, y + (h - side) / 2, side, side
        others = [s for s in scene.subjects if s is not subject and boxes.intersection(s.known.box, crop) > 0]
        if not all(_hidden(scene, other) for other in others):
            return None
        left, top, right, bottom = scene.anonymised.clip(crop[0], crop[1], crop[0] + side, crop[1] + side)
        if min(right - left, bottom - top) < 8:
            return None
        cut = scene.anonymised.region(left, top, right, bottom).bgr()
        scale = TILE / max(cut.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale))
        tile = np.full((TILE, TILE, 3), 255, np.uint8)
        scaled = cv2.resize(cut, size, interpolation=how)
        tile[: scaled.shape[0], : scaled.shape[1]] = scaled
        return tile

    def sheets(self) -> list[tuple[str, U8]]:
        """(caption, BGR picture) of each class that has faces."""
        out = []
        for name, low, high in CLASSES:
            tiles = self._tiles[name]
            if not tiles:
                continue
            rows = -(-len(tiles) // COLUMNS)
            page = np.full((rows * TILE, COLUMNS * TILE, 3), 255, np.uint8)
            for i, tile in enumerate(tiles):
                r, c = divmod(i, COLUMNS)
                page[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE] = tile
            reach = f"{low} to {high - 1} px" if high < 1000 else f"{low} px and more"
            out.append(
                (f"About {name} px high ({reach}): {len(tiles)} of {self._seen[name]} faces that may be shown", page)
            )
        return out


def _hidden(scene: Scene, subject: Subject) -> bool:
    if subject.told is None or not subject.told.hidden:
        return False
    same = pixels.kept(scene.original.y, scene.anonymised.y, subject.known.box)
    return same is not None and same[0] < pixels.UNTOUCHED - 0.2
