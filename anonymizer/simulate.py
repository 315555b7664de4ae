"""A redacted video with the rules' zones and decisions drawn into it, to see what rules do before they are used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from anonymizer.config import Config
from anonymizer.frame import Frame, Planes
from anonymizer.policy import RuleSet
from anonymizer.redact import redact

Colour = tuple[int, int, int]
"""Y, U, V."""
_ZONE, _MASK, _COVERED, _KEPT = (170, 90, 60), (60, 128, 128), (210, 60, 140), (160, 60, 60)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def simulate(
    source: Path, rules: RuleSet, target: Path, config: Config, *, camera: str, start: float | None = None
) -> Counter[tuple[str, str]]:
    """Redact source as camera's rules say, and draw zones, masks, boxes and the rules that decided into target.

    start: when the video begins, seconds since 1970, for rules with schedules. Faces are counted by (rule, action).
    What the rules cover is covered in target too: it shows no more than ``redact`` would. Raises as ``redact`` does.
    """
    counts: Counter[tuple[str, str]] = Counter()

    def show(frame: Frame) -> None:
        draw(frame, rules, camera)
        counts.update((face.rule, face.action) for face in frame.faces)

    redact(source, target, config, rules, camera=camera, start=start, also=show)
    return counts


def draw(frame: Frame, rules: RuleSet, camera: str) -> None:
    """Draws into a painted frame."""
    assert frame.picture is not None
    frame.picture.finish()  # what was painted belongs to the picture before it is edited again
    frame.planes = planes = frame.picture.edit()
    size = np.array((planes.width, planes.height))
    for kind, areas, colour in (("zone", rules.zones, _ZONE), ("mask", rules.masks, _MASK)):
        for name, area in areas.items():
            if area.on(camera):
                corners = np.array(area.polygon) * size
                _outline(planes, corners, colour)
                _label(planes, corners.min(0), f"{kind} {name}", colour)
    for face in frame.faces:
        x, y, w, h = face.box
        colour = _KEPT if face.action == "keep" else _COVERED
        _outline(planes, np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)]), colour)
        _label(planes, np.array((x, y + h)), f"{face.track} {face.action}: {face.rule}", colour)
    if frame.uncertain:
        _label(planes, np.zeros(2), f"covered whole: {frame.uncertain}", _COVERED)


def _outline(planes: Planes, corners: np.ndarray[tuple[int, int], np.dtype[np.float64]], colour: Colour) -> None:
    thick = max(2, planes.height // 360)
    for plane, value, scale in zip((planes.y, planes.u, planes.v), colour, (1, 2, 2), strict=True):
        points = np.rint(corners / scale).astype(np.int32)
        cv2.polylines(plane, [points], True, value, max(1, thick // scale))


def _label(planes: Planes, at: np.ndarray[tuple[int], np.dtype[np.float64]], text: str, colour: Colour) -> None:
    """Text on a field of the colour, below and right of a point, moved into the picture."""
    scale = max(0.4, planes.height / 1600)
    (width, height), base = cv2.getTextSize(text, _FONT, scale, 1)
    left = int(np.clip(at[0], 0, max(0, planes.width - width)))
    top = int(np.clip(at[1], 0, max(0, planes.height - height - base)))
    x0, y0, x1, y1 = planes.clip(left, top, left + width, top + height + base)
    field = planes.region(x0, y0, x1, y1)
    for plane, value in zip((field.y, field.u, field.v), colour, strict=True):
        plane[:] = value
    ink = 16 if colour[0] > 100 else 235
    cv2.putText(planes.y, text, (left, top + height), _FONT, scale, ink, 1, cv2.LINE_AA)
