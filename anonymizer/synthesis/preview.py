"""A sheet of people from the bank, in several poses and expressions, on a drawn head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32, U8, Planes
from anonymizer.synthesis import warp
from anonymizer.synthesis.bank import Bank, FaceModel, Identity
from anonymizer.synthesis.embedded import EmbeddedSwapper, Settings
from anonymizer.synthesis.sampling import look_up
from anonymizer.synthesis.swapper import Order, Swapper


@dataclass(frozen=True, slots=True)
class View:
    """yaw, pitch, roll in degrees, the subject looking to the picture's right for positive yaw; mouth: its opening over
    its width; smile and eyes: 0–1, eyes 1 open and 0 shut; gaze: shift of the irises in eye widths, right positive."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    mouth: float = 0.0
    smile: float = 0.0
    eyes: float = 1.0
    gaze: float = 0.0


VIEWS = (
    View(),
    View(yaw=28, pitch=-4),
    View(yaw=-18, pitch=8, gaze=0.15),
    View(mouth=0.35, pitch=-5),
    View(smile=1.0, mouth=0.12, yaw=8),
    View(eyes=0.0, roll=6),
)


def expressed(shape: F32, view: View) -> F32:
    """The shape, float32 (200, 3), with the view's expression, not yet turned."""
    out = shape.copy()
    corners = topology.points(78, 308)
    line = out[corners, 1].mean()
    width = float(np.ptp(out[corners, 0]))
    drop = view.mouth * width
    across = np.clip(1 - (out[:, 0] / (0.62 * width)) ** 2, 0, 1)
    lower = np.zeros(topology.COUNT)
    lips = np.concatenate([topology.LIPS_INNER[1:10], topology.LIPS_OUTER[1:10]])
    lower[lips] = np.sqrt(across[lips])
    jaw = np.flatnonzero(out[:, 1] > line + 0.1)
    jaw = np.setdiff1d(jaw, np.concatenate([topology.LIPS_OUTER, topology.LIPS_INNER]))
    lower[jaw] = np.exp(-((out[jaw, 0] / 0.75) ** 2))
    out[:, 1] += (drop * lower).astype(np.float32)
    for corner in topology.points(61, 291):
        near = np.exp(-((np.hypot(*(shape[:, :2] - shape[corner, :2]).T) / 0.28) ** 2))
        side = np.sign(shape[corner, 0])
        out += (view.smile * near)[:, None] * np.array([0.07 * side, -0.06, 0.03], np.float32)
    for upper, lower_lid in ((topology.EYE_RIGHT[9:], topology.EYE_RIGHT[1:8][::-1]), _LEFT_LIDS):
        out[upper] = out[lower_lid] + view.eyes * (out[upper] - out[lower_lid])
    eye = np.ptp(shape[topology.EYE_RIGHT, 0])
    out[[topology.IRIS_RIGHT, topology.IRIS_LEFT], 0] += view.gaze * eye
    return out


_LEFT_LIDS = (topology.EYE_LEFT[9:], topology.EYE_LEFT[1:8][::-1])


def turned(shape: F32, view: View, unit: float, centre: tuple[float, float]) -> F32:
    """Landmarks float32 (200, 2): the shape seen from afar, unit pixels between the eyes, (0, 0.35) at centre."""
    yaw, pitch, roll = np.radians([view.yaw, view.pitch, view.roll])
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    pivot = np.array([0, 0.35, 0.6])
    seen = (shape - pivot) @ (about_z @ about_x @ about_y).T
    return np.asarray(seen[:, :2] * unit + centre, np.float32)


def head(model: FaceModel, identity: Identity, landmarks: F32, size: int) -> U8:
    """uint8 (size, size, 3) BGR: a plain head with the identity's skin laid on it, evenly lit, eyes and mouth shut."""
    middle, extent = landmarks.mean(0), np.ptp(landmarks, axis=0)
    tone = np.median(identity.texture.reshape(-1, 3), axis=0)
    picture: U8 = np.full((size, size, 3), (196, 192, 188), np.uint8)

    def ellipse(offset: float, width: float, height: float, colour: tuple[float, ...]) -> None:
        centre = (middle + np.array([0, offset]) * extent).astype(int)
        axes = (int(width * extent[0]), int(height * extent[1]))
        cv2.ellipse(picture, (int(centre[0]), int(centre[1])), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(0.75, 0.30, 0.5, tuple(tone * 0.8))
    ellipse(1.32, 0.9, 0.48, (92, 84, 80))
    ellipse(-0.16, 0.62, 0.66, (44, 48, 56))
    ellipse(-0.02, 0.535, 0.62, tuple(tone))
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), size / 160), np.uint8)

    triangles = np.concatenate([model.triangles, model.eye_right, model.eye_left, model.mouth])
    depth = identity.shape[triangles, 2].mean(1)
    triangles = triangles[np.argsort(-depth, kind="stable")]
    corners = landmarks[triangles]
    areas = warp.signed_areas(corners)
    front = triangles[np.sign(np.median(areas)) * areas > 0]
    outside = np.array([[[0, 0, -1], [0, 0, -1]]], np.float32)
    (found,) = warp.maps(landmarks[front], model.uv[front], np.zeros(len(front), np.int64), [(size, size)], outside)
    inside = (found[..., 0] >= 0).astype(np.float32)
    skin = look_up(identity.texture.astype(np.float32), found * np.float32(model.side) - np.float32(0.5))
    edge = cv2.blur(inside, (size // 24, size // 24))
    alpha = (np.clip(edge * 2 - 1, 0, 1) * inside)[..., None]
    return np.asarray(picture + alpha * (skin - picture), np.uint8)


def planes(bgr: U8) -> Planes:
    """Full-range 4:2:0 planes of a picture with even sides."""
    h, w = bgr.shape[:2]
    y, red, blue = cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb))
    half = (w // 2, h // 2)
    u, v = (cv2.resize(c, half, interpolation=cv2.INTER_AREA) for c in (blue, red))
    return Planes(np.ascontiguousarray(y), np.asarray(u, np.uint8), np.asarray(v, np.uint8), True)


def placed(identity: Identity, view: View, size: int) -> F32:
    """Where ``picture`` puts the points: float32 (200, 2)."""
    return turned(expressed(identity.shape, view), view, 0.27 * size, (0.5 * size, 0.52 * size))


def picture(model: FaceModel, identity: Identity, view: View, size: int) -> U8:
    """One person in one view, uint8 (size, size, 3) BGR; size is even."""
    landmarks = placed(identity, view, size)
    canvas = planes(head(model, identity, landmarks, size))
    swapper = EmbeddedSwapper(model, Settings(side=4 * size, taken=0.0, given=0.0, tone=0.0, shades=0.0))
    return painted(swapper, Order(canvas, landmarks, (view.yaw, view.pitch, view.roll), identity, 0), 0.0)


def painted(swapper: Swapper, order: Order, time: float) -> U8:
    """The order's crop with the face drawn into it, uint8 BGR; the crop itself is written too."""
    (drawing,) = swapper.draw([order], time)
    canvas, weight = order.crop, drawing.weight
    half = np.asarray(cv2.resize(weight, canvas.u.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    for old, new, alpha in (
        (canvas.y, drawing.planes.y, weight),
        (canvas.u, drawing.planes.u, half),
        (canvas.v, drawing.planes.v, half),
    ):
        share = alpha.astype(np.float32) / 255
        old[:] = np.rint(old + share * (new.astype(np.float32) - old)).astype(np.uint8)
    return canvas.bgr()


def sheet(bank: Bank, count: int, size: int = 160, views: Sequence[View] = VIEWS, seed: str = "preview") -> U8:
    """People of the bank, one a row, in the given views: uint8 (count * size, len(views) * size, 3) BGR.

    The people are those of the scope ("preview", seed, number): nobody's who is in view on a camera.
    """
    rows = []
    for number in range(count):
        person = bank.identity("preview", seed, number)
        rows.append(np.hstack([picture(bank.model, person, view, size) for view in views]))
    return np.vstack(rows)
