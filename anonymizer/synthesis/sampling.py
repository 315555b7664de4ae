"""OpenCV's resampling with this project's types. Pictures are (height, width) or (height, width, channels)."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32

_BLACK = np.zeros(1)
Picture = TypeVar("Picture", bound=NDArray[np.uint8] | NDArray[np.float32])


def look_up(picture: F32, places: F32) -> F32:
    """The picture at float32 (h, w, 2) places x, y, counted from the first pixel's centre; its rim goes on outside."""
    found = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(found, np.float32)


def stretch(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at size = (width, height), interpolated; the same array where it has that size."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), picture.dtype)  # type: ignore[return-value]


def shrink(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at size = (width, height), areas averaged; the same array where it has that size."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), picture.dtype)  # type: ignore[return-value]


def to_bytes(values: F32) -> NDArray[np.uint8]:
    """Rounded and clipped to 0–255."""
    return np.asarray(cv2.convertScaleAbs(cv2.max(values, _BLACK)), np.uint8)
