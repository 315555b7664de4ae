"""Cut-out heads for composites: portraits and small photographs with a matte, turned, covered and pasted.

Pictures are uint8 BGR (H, W, 3), mattes uint8 (H, W), labels float32 rows of 16 (see teacher.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from teacher import Array, mirror, shared

Picture = NDArray[np.uint8]
Random = np.random.Generator


@dataclass
class Head:
    """One face with its surroundings: picture, matte of the person, label."""

    picture: Picture
    matte: Picture
    face: Array


def mattes(names: list[str], cache: Path) -> dict[str, Picture]:
    """Person mattes (128, 128) of the named photographs, by MediaPipe's selfie segmentation; kept in ``cache``."""
    if cache.exists():
        with np.load(cache) as kept:
            return dict(zip(kept["names"].tolist(), kept["mattes"], strict=True))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(shared() / "models" / "mp_selfie_segmentation.onnx"), options)
    key = session.get_inputs()[0].name
    out = {}
    for name in names:
        picture = cv2.imread(str(shared() / name))
        if picture is None:
            continue
        picture = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
        mask = session.run(None, {key: picture[None, :, :, ::-1].astype(np.float32) / 255})[0].reshape(256, 256)
        out[name] = cv2.resize((np.clip(mask, 0, 1) * 255).astype(np.uint8), (128, 128)).astype(np.uint8)
    np.savez(cache, names=np.array(list(out)), mattes=np.stack(list(out.values())))
    return out


def load(name: str, face: Array, matte: Picture) -> Head:
    """The head of a photograph; the matte fades toward the photograph's border."""
    picture = cv2.imread(str(shared() / name))
    assert picture is not None
    scale = min(1.0, 288 / max(picture.shape[:2]))
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        face = face.copy()
        face[:14] *= scale
    high, wide = picture.shape[:2]
    matte = cv2.resize(matte, (wide, high)).astype(np.uint8)
    x, y, w, h = face[:4]
    # the face itself always belongs to the cut-out, whatever the matte says
    core = np.zeros((high, wide), np.uint8)
    cv2.ellipse(core, (int(x + w / 2), int(y + h * 0.48)), (int(w * 0.52), int(h * 0.56)), 0, 0, 360, 255, -1)
    matte = np.maximum(matte, cv2.GaussianBlur(core, (0, 0), max(1.0, w * 0.05)).astype(np.uint8))
    edge = np.minimum(np.arange(wide), np.arange(wide)[::-1])[None] / (0.06 * wide)
    rise = np.arange(high)[:, None] / (0.06 * high)
    fade = np.clip(np.minimum(edge, rise), 0, 1)
    return Head(picture.astype(np.uint8), (matte * fade).astype(np.uint8), face.copy())


def turn(head: Head, yaw: float, pitch: float) -> Head:
    """Turn a head by warping it over an ellipsoid with a nose; angles in radians, up to about 0.9."""
    high, wide = head.picture.shape[:2]
    x, y, w, h = head.face[:4]
    cx, cy = x + w / 2, y + h / 2
    nose = head.face[8:10]
    size = 64
    gx, gy = np.meshgrid(np.linspace(0, wide, size, dtype=np.float32), np.linspace(0, high, size, dtype=np.float32))

    def depth(px: Array, py: Array) -> Array:
        r = ((px - cx) / (0.85 * w)) ** 2 + ((py - cy) / (0.95 * h)) ** 2
        bump = 0.16 * w * np.exp(-(((px - nose[0]) / (0.11 * w)) ** 2 + ((py - nose[1]) / (0.13 * h)) ** 2))
        z: Array = (0.75 * w * np.sqrt(np.maximum(1 - r, 0)) + bump).astype(np.float32)
        return z

    shift = 0.75 * w
    sx, sy = gx.copy(), gy.copy()
    for _ in range(7):
        z = depth(sx, sy) - shift * 0.6
        sx = 0.5 * sx + 0.5 * (cx + (gx - cx - z * np.sin(yaw)) / np.cos(yaw)).astype(np.float32)
        sy = 0.5 * sy + 0.5 * (cy + (gy - cy - z * np.sin(pitch)) / np.cos(pitch)).astype(np.float32)
    sx, sy = (cv2.resize(v, (wide, high), interpolation=cv2.INTER_LINEAR) for v in (sx, sy))
    picture = cv2.remap(head.picture, sx, sy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    matte = cv2.remap(head.matte, sx, sy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def forward(points: Array) -> Array:
        z = depth(points[:, 0], points[:, 1]) - shift * 0.6
        px = cx + (points[:, 0] - cx) * np.cos(yaw) + z * np.sin(yaw)
        py = cy + (points[:, 1] - cy) * np.cos(pitch) + z * np.sin(pitch)
        return np.stack([px, py], 1).astype(np.float32)

    face = head.face.copy()
    face[4:14] = forward(face[4:14].reshape(5, 2)).reshape(-1)
    angle = np.linspace(0, 2 * np.pi, 24, dtype=np.float32)
    rim = np.stack([cx + w / 2 * np.cos(angle), cy + h / 2 * np.sin(angle)], 1).astype(np.float32)
    rim = np.concatenate([forward(rim), face[4:14].reshape(5, 2)])
    low, top = rim.min(0), rim.max(0)
    face[:4] = [*low, *(top - low)]
    return Head(picture.astype(np.uint8), matte.astype(np.uint8), face)


def tone(rng: Random) -> tuple[float, float, float]:
    """A colour for cloth."""
    grey = rng.uniform(10, 245)
    return tuple(float(np.clip(grey + rng.normal(0, 45 if rng.random() < 0.5 else 8), 0, 255)) for _ in range(3))  # type: ignore[return-value]


def skin(rng: Random) -> tuple[float, float, float]:
    """A colour for skin, BGR."""
    light = rng.uniform(0.3, 1.0)
    red, green, blue = 235 * light, (150 + 50 * rng.random()) * light, (115 + 60 * rng.random()) * light
    return (blue, green, red)


def cover(head: Head, rng: Random) -> Head:
    """Put a mask, cap, glasses, hand or plain thing over a part of the face."""
    picture = head.picture.copy()
    matte = head.matte.copy()
    x, y, w, h = head.face[:4]
    right, left, nose, mouth_r, mouth_l = head.face[4:14].reshape(5, 2)
    kind = rng.choice(5, p=[0.35, 0.2, 0.15, 0.2, 0.1])
    layer = picture.copy()
    mask = np.zeros(picture.shape[:2], np.uint8)
    down = (mouth_r + mouth_l) / 2 - (right + left) / 2
    side = left - right
    if kind == 0:
        up = nose - down * rng.uniform(0.0, 0.3)
        chin = (mouth_r + mouth_l) / 2 + down * rng.uniform(0.5, 0.9)
        reach = rng.uniform(0.75, 1.0)
        shape = np.array(
            [
                up - side * 0.2,
                up + side * 0.2,
                up + side * reach + down * 0.1,
                chin + side * 0.65 - down * 0.15,
                chin + side * 0.25,
                chin - side * 0.25,
                chin - side * 0.65 - down * 0.15,
                up - side * reach + down * 0.1,
            ]
        )
        cv2.fillPoly(mask, [shape.astype(np.int32)], 255)
    elif kind == 1:
        brow = (right + left) / 2 - down * rng.uniform(0.25, 0.55)
        shape = np.array(
            [
                brow - side * 1.15,
                brow + side * 1.15,
                brow + side * 1.1 - down * 1.0,
                brow + side * 0.5 - down * 1.5,
                brow - side * 0.5 - down * 1.5,
                brow - side * 1.1 - down,
            ]
        )
        cv2.fillPoly(mask, [shape.astype(np.int32)], 255)
        matte = np.maximum(matte, mask)
    elif kind == 2:
        radius = max(1, int(np.hypot(*side) * rng.uniform(0.3, 0.45)))
        for eye in (right, left):
            cv2.ellipse(mask, (int(eye[0]), int(eye[1])), (radius, int(radius * 0.75)), 0, 0, 360, 255, -1)
        cv2.line(mask, tuple(int(v) for v in right), tuple(int(v) for v in left), 255, max(1, radius // 4))
    elif kind == 3:
        at = np.array([x + w * rng.uniform(0.1, 0.9), y + h * rng.uniform(0.5, 1.0)])
        angle = rng.uniform(-0.8, 0.8)
        for finger in range(4):
            root = at + np.array([np.cos(angle), np.sin(angle)]) * w * 0.13 * (finger - 1.5)
            tip = root + np.array([np.sin(angle), -np.cos(angle)]) * h * rng.uniform(0.3, 0.5)
            cv2.line(mask, tuple(int(v) for v in root), tuple(int(v) for v in tip), 255, max(1, int(w * 0.11)))
        palm = at + np.array([-np.sin(angle), np.cos(angle)]) * h * 0.15
        cv2.circle(mask, (int(palm[0]), int(palm[1])), max(1, int(w * 0.26)), 255, -1)
        matte = np.maximum(matte, mask)
    else:
        if rng.random() < 0.5:
            cut = x + w * rng.uniform(0.1, 0.4) if rng.random() < 0.5 else x + w * rng.uniform(0.6, 0.9)
            mask[:, : int(max(0, cut))] = 255 if cut < x + w / 2 else 0
            mask[:, int(max(0, cut)) :] = 255 if cut > x + w / 2 else mask[0, -1]
        else:
            mask[int(max(0, y + h * rng.uniform(0.6, 0.9))) :] = 255
        matte = np.maximum(matte, (mask * (rng.random() < 0.5)).astype(np.uint8))
    layer[:] = skin(rng) if kind == 3 else tone(rng)
    shade = cv2.resize(rng.normal(0, 16, (7, 7)).astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    if kind in (0, 3):
        light = picture.astype(np.float32).mean(2)
        shade += 0.35 * (light - light.mean())
    body = np.clip(layer + shade[..., None], 0, 255)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, w * 0.012)).astype(np.float32)[..., None] / 255
    return Head((picture * (1 - soft) + body * soft).astype(np.uint8), matte, head.face)


def flip(head: Head) -> Head:
    """The mirrored head."""
    face = mirror(head.face[None], head.picture.shape[1])[0]
    return Head(np.ascontiguousarray(head.picture[:, ::-1]), np.ascontiguousarray(head.matte[:, ::-1]), face)


def move(faces: Array, matrix: Array) -> Array:
    """Labels (N, 16) under an affine map (2, 3): each box becomes that of the moved ellipse."""
    out = faces.copy()
    a = matrix[:, :2]
    half = faces[:, 2:4] / 2
    centre = (faces[:, :2] + half) @ a.T + matrix[:, 2]
    reach = np.sqrt(half**2 @ (a**2).T)
    out[:, :2] = centre - reach
    out[:, 2:4] = 2 * reach
    out[:, 4:14] = (faces[:, 4:14].reshape(-1, 5, 2) @ a.T + matrix[:, 2]).reshape(-1, 10)
    return out


def paste(canvas: Picture, head: Head, height: float, at: tuple[float, float], angle: float, rng: Random) -> Array:
    """Lay a head over the canvas: face ``height`` px high, its centre at ``at``; returns the label there."""
    picture, matte, face = head.picture, head.matte, head.face
    scale = height / face[3]
    while scale < 0.5:
        picture = cv2.resize(
            picture, (max(2, picture.shape[1] // 2), max(2, picture.shape[0] // 2)), interpolation=cv2.INTER_AREA
        )
        matte = cv2.resize(matte, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        face = face.copy()
        face[:14] *= 0.5
        scale *= 2
    squeeze = rng.uniform(0.92, 1.08)
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    a = np.array([[c * squeeze, -s], [s * squeeze, c]], np.float32)
    centre = face[:2] + face[2:4] / 2
    matrix = np.concatenate([a, (np.array(at) - a @ centre)[:, None]], 1).astype(np.float32)
    high, wide = picture.shape[:2]
    corners = np.array([[0, 0], [wide, 0], [0, high], [wide, high]]) @ a.T + matrix[:, 2]
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    top = np.minimum(np.ceil(corners.max(0)), canvas.shape[1::-1]).astype(int)
    if (top - low < 2).any():
        return move(face[None], matrix)[0]
    local = matrix.copy()
    local[:, 2] -= low
    size = (int(top[0] - low[0]), int(top[1] - low[1]))
    patch = cv2.warpAffine(picture, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )
    alpha = cv2.warpAffine(matte, local, size, flags=cv2.INTER_LINEAR)[..., None].astype(np.float32) / 255
    spot = canvas[low[1] : top[1], low[0] : top[0]]
    if rng.random() < 0.6:
        gain = (spot.mean() + 40) / (patch.mean() + 40)
        patch *= np.clip(gain, 0.35, 1.6) ** rng.uniform(0.2, 0.9)
    spot[:] = np.clip(patch * alpha + spot * (1 - alpha), 0, 255).astype(np.uint8)
    return move(face[None], matrix)[0]
