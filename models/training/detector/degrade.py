"""What cameras, night and codecs do to a picture. All pictures are uint8 BGR (H, W, 3)."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
from heads import Picture, Random


def light(picture: Picture, rng: Random) -> Picture:
    """Gamma, contrast, colour cast, low light, infra-red grey."""
    table = np.arange(256, dtype=np.float32)[:, None].repeat(3, 1) / 255
    if rng.random() < 0.6:
        table = table ** rng.uniform(0.6, 1.6)
        table = table * rng.uniform(0.75, 1.2) + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.3:
        table = table * rng.uniform(0.85, 1.15, 3)
    if rng.random() < 0.1:
        table = table * rng.uniform(0.2, 0.6) + rng.uniform(0, 0.06)
    lut = np.clip(table * 255, 0, 255).astype(np.uint8)[None]
    picture = cv2.LUT(picture, lut).astype(np.uint8)
    kind = rng.random()
    if kind < 0.16:
        grey = cv2.transform(picture, rng.dirichlet([2, 2, 3])[None].astype(np.float32))
        picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.uint8)
    elif kind < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        keep = rng.uniform(0.3, 1.4)
        picture = cv2.addWeighted(picture, keep, grey, 1 - keep, 0).astype(np.uint8)
    return picture


def optics(picture: Picture, rng: Random, strength: float) -> Picture:
    """Lost resolution, defocus, motion blur, sharpening; ``strength`` 0-1 follows the size of the faces."""
    size = picture.shape[1::-1]
    kind = rng.random()
    if kind < 0.25:
        factor = 1 + rng.uniform(0.1, 1.6) * strength
        small = (int(size[0] / factor), int(size[1] / factor))
        down = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR
        up = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        picture = cv2.resize(cv2.resize(picture, small, interpolation=down), size, interpolation=up).astype(np.uint8)
    elif kind < 0.45:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.35 + rng.uniform(0, 1.6) * strength).astype(np.uint8)
    elif kind < 0.58:
        length = max(2, int(2 + rng.uniform(0, 9) * strength))
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length)).astype(np.float32)
        picture = cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-3)).astype(np.uint8)
    elif kind < 0.68:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
        picture = cv2.addWeighted(picture, 1.6, soft, -0.6, 0).astype(np.uint8)
    return picture


def noise(picture: Picture, rng: Random) -> Picture:
    """Sensor noise, white or in coarse grain."""
    high, wide = picture.shape[:2]
    sigma = rng.gamma(1.5, 4.0)
    if rng.random() < 0.5:
        grain = np.empty((high, wide, 1), np.float32)
        cv2.randn(grain, 0, sigma)
        grain = grain.reshape(high, wide, 1)
    else:
        grain = np.empty((high // 2, wide // 2, 3), np.float32)
        cv2.randn(grain, 0, sigma)
        grain = cv2.resize(grain, (wide, high)).astype(np.float32)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def jpeg(picture: Picture, rng: Random) -> Picture:
    """One JPEG round."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 85))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.uint8)  # type: ignore[union-attr]


def h264(picture: Picture, rng: Random) -> Picture:
    """The last of a few frames of a panning H.264 stream, CRF 24-38. Sides must be even."""
    high, wide = picture.shape[:2]
    crf = int(rng.integers(24, 39))
    count = int(rng.integers(1, 4))
    step = rng.integers(-3, 4, 2)
    data = io.BytesIO()
    with av.open(data, "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"  # type: ignore[attr-defined]
        preset = str(rng.choice(["ultrafast", "superfast", "veryfast"], p=[0.3, 0.4, 0.3]))
        stream.options = {"preset": preset, "crf": str(crf), "threads": "1", "bf": "0", "tune": "zerolatency"}
        for k in range(count - 1, -1, -1):
            shown = np.roll(picture, (int(step[0] * k), int(step[1] * k)), (0, 1)) if k else picture
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), "bgr24")))  # type: ignore[attr-defined]
        out.mux(stream.encode(None))  # type: ignore[attr-defined]
    data.seek(0)
    last = picture
    with av.open(data, "r", format="h264") as read:
        for frame in read.decode(video=0):
            last = frame.to_ndarray(format="bgr24")
    return last.astype(np.uint8)


def degrade(picture: Picture, rng: Random, strength: float) -> Picture:
    """The whole chain short of the video codec; a quarter of the pictures stay as they are."""
    if rng.random() < 0.25:
        return picture
    if rng.random() < 0.7:
        picture = light(picture, rng)
    picture = optics(picture, rng, strength)
    if rng.random() < 0.4:
        picture = noise(picture, rng)
    if rng.random() < 0.2:
        picture = jpeg(picture, rng)
    return picture
