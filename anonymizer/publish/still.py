"""Pictures that are no video: JPEG stills, and what is shown while a camera is away."""

from __future__ import annotations

import time

import av
import cv2
import numpy as np

from anonymizer.frame import Planes
from anonymizer.ingest.picture import planes_of

_LIGHT, _DIM, _GROUND = 200, 130, 38  # luma
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def jpeg(planes: Planes, quality: int = 85) -> bytes:
    """The picture as JPEG."""
    done, data = cv2.imencode(".jpg", planes.bgr(), (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise ValueError("the picture cannot be written as JPEG")
    return data.tobytes()


def notice(width: int, height: int, title: str, lines: list[str], now: float) -> av.VideoFrame:
    """A designed picture with words on it, never anything of the camera's. now: UTC seconds, shown as time of day."""
    frame = av.VideoFrame(width, height, "yuv420p")
    planes = planes_of(frame)
    planes.u[:], planes.v[:] = 128, 128
    canvas = np.full((height, width), _GROUND, np.uint8)
    cv2.rectangle(canvas, (0, 0), (width, max(4, height // 60)), _DIM, -1)
    clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    rows = [(title, 1.6, _LIGHT), *((line, 1.0, _DIM) for line in lines), (clock, 1.0, _DIM)]
    unit = height / 480
    y = height * 0.42
    for text, scale, luma in rows:
        size = scale * unit
        wide = cv2.getTextSize(text, _FONT, size, 1)[0][0]
        if wide > 0.9 * width:
            size *= 0.9 * width / wide
            wide = round(0.9 * width)
        place = (width - wide) // 2, round(y)
        cv2.putText(canvas, text, place, _FONT, size, luma, max(1, round(1.5 * size)), cv2.LINE_AA)
        y += 42 * scale * unit
    planes.y[:] = canvas
    return frame
