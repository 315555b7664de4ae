"""200 points on every face of a frame, in one run of the landmark net.

A crop is a square around the face, turned so that the face stands upright, replicated where it leaves the picture.
Its centre, side and roll come from the face's previous landmarks, not far from the detector's box and five points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from anonymizer.faces import topology
from anonymizer.faces.runtime import Contract, Port, check, open_session, run_options
from anonymizer.frame import F32, U8, Box, Face, Planes, extent

CROP_SCALE = 1.5
"""Side of the crop over the longer side of the upright rectangle around the 200 points."""

# A detector's box (WIDER FACE's convention: hairline to chin) against that rectangle, medians over 3,000 faces: its
# longer side is larger, and its centre stands higher by this share of it.
_BOX_SCALE = CROP_SCALE / 1.09
_BOX_DROP = 0.05

NEAR, LARGER, TURNED = 0.1, 1.2, 0.4
"""How far a crop may lie from the one at the detection, as a share of its side; how many times larger or smaller it may
be; and how far it may be turned against it, in radians."""

_MESH_COUNT = 468
_OWN = Contract(
    (Port("crops", (None, 3, 96, 96)),), (Port("landmarks", (None, topology.COUNT, 3)), Port("presence", (None,)))
)
_MESH = Contract((Port("", (1, 192, 192, 3)),), (Port("", (1, 1, 1, 3 * _MESH_COUNT)), Port("", (1, 1, 1, 1))))
# From full range to studio range, which a conversion from planes starts from.
_LEVELS = np.arange(256)
_STUDIO_LUMA = np.rint(_LEVELS * (219 / 255) + 16).astype(np.uint8)
_STUDIO_CHROMA = np.rint((_LEVELS - 128) * (224 / 255) + 128).astype(np.uint8)
_IRIS_SCALE = 2.3  # of the distance between the eye's corners: MediaPipe's iris graph
_RIGHT_CORNERS = topology.points(33, 133)
_LEFT_CORNERS = topology.points(263, 362)


class Landmarks(NamedTuple):
    """What the net says of n faces.

    points: float32 (n, 200, 2), pixels of the frame, order of ``faces.topology``. depth: float32 (n, 200), the same
    unit, smaller is nearer to the camera, the zero is arbitrary. presence: float32 (n,), probability that the crop
    holds a face.
    """

    points: F32
    depth: F32
    presence: F32

    @property
    def solid(self) -> F32:
        """float32 (n, 200, 3): points and depth together, for ``faces.pose``."""
        return np.concatenate([self.points, self.depth[:, :, None]], 2)


class Crop(NamedTuple):
    """A square in the frame: centre and side in pixels, roll in radians, clockwise as seen."""

    x: float
    y: float
    side: float
    roll: float

    def to_frame(self, size: int) -> F32:
        """float32 (2, 3): the map from coordinates in a crop of size × size pixels to the frame."""
        cos, sin = math.cos(self.roll) * self.side / size, math.sin(self.roll) * self.side / size
        half = size / 2
        return np.array([[cos, -sin, self.x - half * (cos - sin)], [sin, cos, self.y - half * (sin + cos)]], np.float32)


def roll_of(points: F32) -> float:
    """Roll in radians from five points float32 (5, 2): the eye line and the line from eyes to mouth, added up.

    In a profile the eye line shrinks to noise, and the other line decides.
    """
    across_x, across_y, down_x, down_y = topology.lines_of(points)
    return math.atan2(across_y - down_x, across_x + down_y)


def crop_of(face: Face) -> Crop:
    """Where the net looks for the face's landmarks: at the detection, or where those of the frame before lie.

    The net says more exactly than a detector's box how large a face is, but a crop must not lead the next one astray:
    it stays near the detection.
    """
    seen = crop_at(face.seen or face.box, face.points)
    if face.landmarks is None or not np.isfinite(face.landmarks).all():
        return seen
    known = crop_around(face.landmarks)
    x, y = known.x - seen.x, known.y - seen.y
    near = min(1.0, NEAR * seen.side / max(math.hypot(x, y), 1e-6))
    side = seen.side * min(max(known.side / max(seen.side, 1e-6), 1 / LARGER), LARGER)
    turn = (known.roll - seen.roll + math.pi) % math.tau - math.pi
    return Crop(seen.x + near * x, seen.y + near * y, side, seen.roll + min(max(turn, -TURNED), TURNED))


def crop_around(landmarks: F32) -> Crop:
    """CROP_SCALE × the longer side of the upright rectangle around landmarks, float32 (200, 2)."""
    roll = roll_of(topology.five_points(landmarks[None])[0])
    cos, sin = math.cos(roll), math.sin(roll)
    left, top, wide, high = extent(landmarks @ np.array([[cos, -sin], [sin, cos]], np.float32))
    across, down = left + wide / 2, top + high / 2
    return Crop(cos * across - sin * down, sin * across + cos * down, CROP_SCALE * max(wide, high), roll)


def crop_at(box: Box, points: F32 | None) -> Crop:
    """The same crop, on average, from a detector's box and its five points, float32 (5, 2), which give the roll."""
    left, top, width, height = box
    roll = 0.0 if points is None else roll_of(points)
    longer = max(width, height)
    x = left + width / 2 - _BOX_DROP * longer * math.sin(roll)
    y = top + height / 2 + _BOX_DROP * longer * math.cos(roll)
    return Crop(x, y, _BOX_SCALE * longer, roll)


def cut(planes: Planes, crops: Sequence[Crop], size: int) -> U8:
    """The crops as BGR uint8 (n, size, size, 3); size is even. Only the rectangles around them are read.

    BT.601 coefficients whatever the stream says, as in ``Planes.bgr``.
    """
    # The planes of all crops as those of one tall picture, which is converted at once.
    count, half = len(crops), size // 2
    tall = np.empty((count * size + count * half, size), np.uint8)
    luma = tall[: count * size].reshape(count, size, size)
    chroma = tall[count * size :].reshape(2, count, half, half)
    for i, crop in enumerate(crops):
        _cut(planes, crop, luma[i], (chroma[0, i], chroma[1, i]))
    if planes.full_range:
        tall[: count * size] = _STUDIO_LUMA[tall[: count * size]]
        tall[count * size :] = _STUDIO_CHROMA[tall[count * size :]]
    return np.asarray(cv2.cvtColor(tall, cv2.COLOR_YUV2BGR_I420), np.uint8).reshape(count, size, size, 3)


def _cut(planes: Planes, crop: Crop, luma: U8, chroma: tuple[U8, U8]) -> None:
    """Fill luma (s, s) and both planes of chroma (s / 2, s / 2) with what the crop shows."""
    room = crop.side / 2 * (abs(math.cos(crop.roll)) + abs(math.sin(crop.roll))) + 2
    left, top, right, bottom = planes.clip(crop.x - room, crop.y - room, crop.x + room, crop.y + room)
    if right - left < 2 or bottom - top < 2:
        luma[:], chroma[0][:], chroma[1][:] = 16, 128, 128
        return
    region = planes.region(left, top, right, bottom)
    # Whole pixels become one on the way down, many times faster than shares of them; the warp alone would skip some.
    step = max(1, round(crop.side / len(luma)))
    inside = crop._replace(x=crop.x - left, y=crop.y - top)
    _warp(region.y, inside, step, luma)
    halved = Crop(inside.x / 2, inside.y / 2, inside.side / 2, inside.roll)
    for plane, out in zip((region.u, region.v), chroma, strict=True):
        _warp(plane, halved, step, out)


def _warp(plane: U8, crop: Crop, step: int, out: U8) -> None:
    """Fill out with what the crop shows of a plane, step × step of whose pixels are made one before."""
    if step > 1:
        high, wide = (max(1, side // step) for side in plane.shape)
        whole = plane[: high * step, : wide * step]
        plane = np.asarray(cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
    turn = crop.to_frame(len(out))
    # From pixel edges, which the crop is measured in, to pixel centres, which the warp counts in.
    turn[:, 2] += turn[:, :2].sum(1) / 2
    turn /= step
    turn[:, 2] -= 0.5
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(plane, turn, out.shape[::-1], dst=out, flags=how, borderMode=cv2.BORDER_REPLICATE)


class Landmarker:
    """Runs a landmark net over the faces of a frame.

    model: the project's own ``face_landmarks.onnx`` (input ``crops`` float32 (n, 3, 96, 96) BGR 0–255; outputs
    ``landmarks`` (n, 200, 3) in fractions of the crop's side and ``presence`` (n,)), or MediaPipe's 468-point mesh
    (NHWC RGB 0–1, one face a run). With the mesh, iris names MediaPipe's iris model; without it an iris is the centre
    of the eye's outline. threads and providers: as in ``runtime.open_session``. ModelError for a file that is neither.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        iris: str | Path | None = None,
        threads: int = 1,
        providers: Sequence[str] = ("cpu",),
    ) -> None:
        self._session = open_session(model, threads=threads, providers=providers)
        source = self._session.get_inputs()[0]
        self._name: str = source.name
        self._own = source.name == "crops"
        check(Path(model), self._session, _OWN if self._own else _MESH)
        self.size: int = source.shape[2]
        self._iris = None if iris is None else open_session(iris, threads=threads, providers=providers)

    def __call__(self, planes: Planes, faces: Sequence[Face]) -> Landmarks:
        """Landmarks of the given faces, in their order; the faces themselves stay as they are."""
        return self.at(planes, [crop_of(face) for face in faces])

    def at(self, planes: Planes, crops: Sequence[Crop]) -> Landmarks:
        """Landmarks of whatever the crops show."""
        if not crops:
            none = np.zeros((0, topology.COUNT, 3), np.float32)
            return Landmarks(none[:, :, :2], none[:, :, 2], np.zeros(0, np.float32))
        images = cut(planes, crops, self.size)
        if self._own:
            batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
            options = run_options(self._session)
            points, presence = self._session.run(["landmarks", "presence"], {"crops": batch}, options)
        else:
            points, presence = self._mesh(images)
        found, depth = points[:, :, :2] * self.size, points[:, :, 2]
        for i, crop in enumerate(crops):
            matrix = crop.to_frame(self.size)
            found[i] = found[i] @ matrix[:, :2].T + matrix[:, 2]
        sides = np.array([crop.side for crop in crops], np.float32)
        if self._iris is not None and not self._own:
            self._move_irises(planes, found)
        return Landmarks(found, depth * sides[:, None], presence)

    def _mesh(self, images: U8) -> tuple[F32, F32]:
        """The 468-point mesh reduced to 200 points in fractions of the crop; irises are the outlines' centres."""
        points = np.empty((len(images), topology.COUNT, 3), np.float32)
        presence = np.empty(len(images), np.float32)
        for i, image in enumerate(images):
            batch = image[None, :, :, ::-1].astype(np.float32) / 255
            mesh, logit = self._session.run(None, {self._name: batch}, run_options(self._session))
            points[i, :-2] = mesh.reshape(_MESH_COUNT, 3)[topology.MESH_INDICES] / self.size
            presence[i] = 1 / (1 + np.exp(-logit.item()))
        points[:, topology.IRIS_RIGHT] = points[:, topology.EYE_RIGHT].mean(1)
        points[:, topology.IRIS_LEFT] = points[:, topology.EYE_LEFT].mean(1)
        return points, presence

    def _move_irises(self, planes: Planes, points: F32) -> None:
        """Put the iris points of float32 (n, 200, 2) where MediaPipe's iris model sees them.

        The model knows the subject's right eye; the left one is mirrored for it, and its answer mirrored back.
        """
        assert self._iris is not None
        name = self._iris.get_inputs()[0].name
        for face in points:
            for iris, corners, mirrored in (
                (topology.IRIS_RIGHT, _RIGHT_CORNERS, False),
                (topology.IRIS_LEFT, _LEFT_CORNERS[::-1], True),
            ):
                first, last = face[corners]
                across = last - first
                centre = (first + last) / 2
                side = _IRIS_SCALE * float(np.hypot(*across))
                crop = Crop(float(centre[0]), float(centre[1]), side, float(np.arctan2(across[1], across[0])))
                image = cut(planes, [crop], 64)[0, :, :, ::-1]
                batch = (image[:, ::-1] if mirrored else image)[None].astype(np.float32) / 255
                seen = self._iris.run(None, {name: batch})[1].reshape(5, 3)[0, :2]
                if mirrored:
                    seen[0] = 64 - seen[0]
                matrix = crop.to_frame(64)
                face[iris] = matrix[:, :2] @ seen + matrix[:, 2]
