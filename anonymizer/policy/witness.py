"""A face, a time and a camera that show how two rule sets differ."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace

from anonymizer.policy import cells as space
from anonymizer.policy import geometry
from anonymizer.policy.cells import Cells
from anonymizer.policy.decision import ZONE_MARGIN, CameraRules, FaceFacts, Picture
from anonymizer.policy.geometry import Rect
from anonymizer.policy.recognition import Recognition

_SIZES = (0.2, 0.07, 0.02, 0.005, 0.6)
"""Heights, in shares of the picture, that are tried for a face whose size no rule asks for."""


@dataclass(frozen=True, slots=True)
class Witness:
    """why: in what the new rules are weaker. old, new: the rules that decide. time: seconds since 1970; None where any
    or an unknown time will do. face, picture: an example. note: what the example is, in words. sure: the example was
    put to both rule sets; otherwise it is only not excluded."""

    why: str
    old: str
    new: str
    camera: str
    time: float | None
    face: FaceFacts | None = None
    picture: Picture | None = None
    note: str = ""
    sure: bool = True

    def __str__(self) -> str:
        where = f"on camera {self.camera}" if self.camera != "any" else "on any camera"
        when = f" at {_stamp(self.time)}" if self.time is not None else ""
        verb = "gets" if self.sure else "could get"
        if self.face is None or self.picture is None:
            who = self.note
        else:
            x, y, w, h = self.face.box
            who = (
                f"a face of {w:.0f}×{h:.0f} at ({x:.0f}, {y:.0f}) in {self.picture.width}×{self.picture.height} pixels"
            )
            who += f" ({self.note})" if self.note else ""
        return f"{where}{when}, {who} {verb} {self.why} (was rule {self.old!r}, is rule {self.new!r})"


def _stamp(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%a %Y-%m-%d %H:%M UTC")


def find(a: CameraRules, b: CameraRules, cells: Cells, state: list[int]) -> Witness | None:
    """A face in the cells of state that b treats more weakly than a, tried out on both; None where none was found."""
    time = cells.time(state)
    for rect, height, picture_height in _places(cells, state):
        picture = Picture(a.camera, time, max(1, round(picture_height * 16 / 9)), picture_height)
        width = picture.width
        box = rect[0] * width, rect[1] * picture_height, (rect[2] - rect[0]) * width, height
        fact = FaceFacts(
            track=1,
            box=box,
            age=0.0 if state[space.FRESH] & 1 else 10.0,
            confidence=_first(cells, state, space.CONFIDENCE),
            time_in_view=_first(cells, state, space.VIEW),
            pose_usable=bool(state[space.POSE] & 1),
        )
        groups = frozenset(group for group, dim in cells.group_at.items() if state[dim] == 1)
        known = Recognition("someone", groups, 1.0, 0.0)
        for who in (space.NEITHER, space.BOTH, space.OLD_ONLY, space.NEW_ONLY):
            if not state[space.KNOWN] & who:
                continue
            was = replace(fact, known=known if who & (space.BOTH | space.OLD_ONLY) else None)
            now = replace(fact, known=known if who & (space.BOTH | space.NEW_ONLY) else None)
            old, new = a.decide([was], picture).faces[0], b.decide([now], picture).faces[0]
            if why := new.cover.weakness(old.cover):
                return Witness(why, old.rule, new.rule, a.camera, time, now, picture, _told(now, who))
    return None


def _told(face: FaceFacts, who: int) -> str:
    notes = []
    if who != space.NEITHER and face.known is not None:
        groups = ", ".join(sorted(face.known.groups)) or "no group named"
        notes.append(f"recognised, of {groups}")
    if who == space.NEW_ONLY:
        notes.append("though the old thresholds would not")
    if who == space.OLD_ONLY:
        notes.append("no longer recognised")
    if face.age:
        notes.append("not seen just now")
    if not face.pose_usable:
        notes.append("turned away")
    return ", ".join(notes)


def _first(cells: Cells, state: list[int], dim: int) -> float:
    return cells.middle(dim, (state[dim] & -state[dim]).bit_length() - 1)


def _cell(cells: Cells, dim: int, value: float) -> int:
    return 1 << sum(value >= cut for cut in cells.cuts[dim])


def _places(cells: Cells, state: list[int]) -> Iterator[tuple[Rect, float, int]]:
    """(face in fractions of the picture, its height in pixels, the picture's height), as the state asks for."""
    height = _first(cells, state, space.HEIGHT)
    zones = [(polygon, state[dim]) for polygon, dim in cells.zone_at.items()]
    shares = [s for s in _SIZES if _cell(cells, space.SHARE, s) & state[space.SHARE]]
    n_cells = len(cells.cuts[space.SHARE]) + 1
    shares += [cells.middle(space.SHARE, n) for n in range(n_cells) if state[space.SHARE] >> n & 1]
    for share in shares:
        picture_height = max(1, round(height / share))
        h = height / picture_height
        if not _cell(cells, space.SHARE, h) & state[space.SHARE]:
            continue
        for w in (0.5 * h, 0.05 * h):
            for x, y in _centres(cells, h, w):
                rect = x - w / 2, y - h / 2, x + w / 2, y + h / 2
                shown = max(0.0, rect[0]), max(0.0, rect[1]), min(1.0, rect[2]), min(1.0, rect[3])
                if shown[0] >= shown[2] or shown[1] >= shown[3]:
                    continue
                near = geometry.grown(rect, ZONE_MARGIN)
                if all(_relation(polygon, shown, near) & mask for polygon, mask in zones):
                    yield rect, height, picture_height
                    break


def _relation(polygon: geometry.Polygon, shown: Rect, near: Rect) -> int:
    if geometry.inside(polygon, shown):
        return space.IN
    return space.OVER if geometry.overlaps(polygon, near) else space.OUT


def _centres(cells: Cells, h: float, w: float) -> Iterator[tuple[float, float]]:
    """Places where relations to the zones change: at corners, edges and centres, and a grid."""
    yield 0.5, 0.5
    steps = (0.0, -0.65, 0.65, -1.1, 1.1)
    for polygon in cells.polygons:
        corners = list(polygon)
        middles = [
            ((p[0] + q[0]) / 2, (p[1] + q[1]) / 2) for p, q in zip(corners, corners[1:] + corners[:1], strict=True)
        ]
        centre = sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)
        for x, y in (centre, *corners, *middles):
            yield from ((x + dx * w, y + dy * h) for dx in steps for dy in steps)
    yield from ((0.05 + 0.1 * i, 0.05 + 0.1 * j) for i in range(10) for j in range(10))
