"""A portrait in the layout of the texture, and its light taken out."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 160
"""Side of the texture in pixels; its eye distance is about 62 of them, the portraits' about 50."""


class Layout:
    """For each texel the triangle it lies in and its weights: portraits are brought into the layout by one remap."""

    def __init__(self, uv: np.ndarray, parts: dict[str, np.ndarray], side: int = SIDE):
        self.side = side
        self.tri = np.concatenate(list(parts.values())).astype(int)
        index = np.full((side, side), -1, np.int32)
        xy = uv * side - 0.5  # centres of texels
        for i, t in enumerate(self.tri):
            cv2.fillConvexPoly(index, np.rint(xy[t] * 16).astype(np.int32), i, shift=4)
        self.valid = index >= 0
        y, x = np.nonzero(self.valid)
        t = self.tri[index[y, x]]
        a, b, c = xy[t[:, 0]], xy[t[:, 1]], xy[t[:, 2]]
        d = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        p = np.stack([x, y], 1) - a
        v = (p[:, 0] * (c - a)[:, 1] - p[:, 1] * (c - a)[:, 0]) / d
        w = ((b - a)[:, 0] * p[:, 1] - (b - a)[:, 1] * p[:, 0]) / d
        self.vertex, self.weight = t, np.stack([1 - v - w, v, w], 1)
        names = np.repeat(np.arange(len(parts)), [len(p) for p in parts.values()])
        self.part = np.where(self.valid, names[index], -1)
        """(side, side): 0 skin, 1 and 2 the eye openings, 3 the mouth interior, -1 outside."""

    def warp(self, bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) and points (200, 2) in its pixels → uint8 (side, side, 3); outside the rim goes on."""
        at = np.zeros((self.side, self.side, 2), np.float32)
        at[self.valid] = (points[self.vertex, :2] * self.weight[..., None]).sum(1)
        out = cv2.remap(bgr, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return fill_outside(out, self.valid)


def fill_outside(picture: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Every pixel outside takes the nearest pixel inside, slightly softened so that no streaks are seen."""
    inner = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, label = cv2.distanceTransformWithLabels(1 - inner, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    order = np.zeros(label.max() + 1, np.int64)
    order[label[inner > 0]] = np.flatnonzero(inner.ravel())
    flat = picture.reshape(-1, *picture.shape[2:])
    filled = np.ascontiguousarray(flat[order[label.ravel()]].reshape(picture.shape))
    soft = cv2.GaussianBlur(filled, (0, 0), 3)
    mask = inner.astype(bool)
    soft[mask] = picture[mask]
    return soft


def blur(picture: np.ndarray, sigma: float, weight: np.ndarray | None = None) -> np.ndarray:
    """Gaussian mean of a float32 picture, where weight is given over the weighted pixels alone."""
    picture = np.ascontiguousarray(picture, np.float32)
    if weight is None:
        return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    w = weight.astype(np.float32)[..., None] if picture.ndim == 3 else weight.astype(np.float32)
    mean = (picture * w).sum((0, 1)) / w.sum((0, 1))
    total = cv2.GaussianBlur(w, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT).reshape(w.shape)
    out = cv2.GaussianBlur(picture * w, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return (out + 1e-3 * mean) / (total + 1e-3)  # far from everything known: the mean of all


def fill_eyes(texture: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The eye openings filled with the lids around them, lashes left out of the sum: a shut eye finds skin there."""
    hole = ((part == 1) | (part == 2)).astype(np.uint8)
    rim = cv2.dilate(hole, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    known = (part >= 0) & (rim == 0)
    skin = blur(texture.astype(np.float32), 4.0, known.astype(np.float32))
    grain = texture.astype(np.float32) - blur(texture.astype(np.float32), 2.0)
    shift = np.roll(grain, 14, axis=0)  # the grain of the upper lid goes on
    mask = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 0.8)[..., None]
    return texture * (1 - mask) + (skin + 0.5 * shift) * mask


FINE, WIDE, COLOUR = 12.0, 32.0, 18.0
"""Widths in texels of the low-passes: what is wider than FINE is light and form, than WIDE light alone."""
CONTRAST = 0.16
"""Standard deviation that the detail of log luma may have: hard light and dark skin show more."""


def take_out_light(textures: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Portraits in the layout, uint8 (n, s, s, 3) BGR → the same as if lit evenly, with one common skin tone.

    In logarithms light is a summand. What is wide is replaced by the portraits' symmetrised median; between FINE and
    WIDE the portrait's own symmetric part stays (beards, sockets); finer than FINE it stays whole, its wider half
    mostly symmetrised, because the shadow of a nose falls to one side and a wrinkle's does not. Colour is the ratio of
    the channels, so that grey hair beside orange-lit skin does not turn blue.
    """
    skin = part == 0
    lids = cv2.dilate(((part == 1) | (part == 2)).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    depth = cv2.distanceTransform((part >= 0).astype(np.uint8), cv2.DIST_L2, 5)
    known = (skin & ~lids & (depth > 5)).astype(np.float32)
    step = np.clip((depth - 3) / 11, 0, 1)
    fade = (step * step * (3 - 2 * step)).astype(np.float32)  # hair and background at the rim give no detail

    logs = np.array([np.log(blur(fill_eyes(t, part), 0.5).clip(0) + 6) for t in textures], np.float32)
    luma = logs @ np.array([0.114, 0.587, 0.299], np.float32)
    colour = logs - luma[..., None]
    fine = np.array([blur(x, FINE, known) for x in luma])
    wide = np.array([blur(x, WIDE, known) for x in luma])
    tint = np.array([blur(x, COLOUR, known) for x in colour])

    def mirror_mean(x: np.ndarray, axis: int) -> np.ndarray:
        return (x + np.flip(x, axis)) / 2

    form = mirror_mean(np.median(fine - wide, 0), 1)
    slope = mirror_mean(np.median(wide, 0), 1)
    slope -= slope[known > 0].mean()
    own = 0.14 * np.tanh(mirror_mean(fine - wide - form, 2) / 0.14)
    detail = luma - fine
    broad = np.array([blur(x, 4.0, known) for x in detail])
    even = 0.18 * np.tanh(mirror_mean(broad, 2) / 0.18)
    detail = detail - broad + even + 0.3 * (broad - mirror_mean(broad, 2))
    spread = np.array([x[known > 0].std() for x in detail])[:, None, None]
    detail = detail * np.clip(CONTRAST / spread, 0, 1.2)
    detail = np.where(detail > 0, 0.2 * np.tanh(detail / 0.2), detail)  # highlights, not hair
    at_side = (
        np.clip((30 - depth) / 6, 0, 1) * np.clip((0.64 - np.arange(len(depth)) / len(depth)) / 0.06, 0, 1)[:, None]
    )
    coarse = np.array([blur(x, 1.0) for x in detail])
    usual = np.median(coarse, 0)
    rough = np.median(np.abs(coarse - usual)[:, known > 0], 1)
    rough = np.clip(rough / np.median(rough), 0.3, 1.2)[:, None, None]  # smooth skin has few dark lines of its own
    limit = rough * (0.03 + 2.8 * blur(np.median(np.abs(coarse - usual), 0), 2.0))
    odd = coarse - np.clip(coarse, usual - limit, usual + limit)
    detail = detail - at_side * odd  # strands of hair, ears and backdrops: what few portraits show there
    light = np.log(150) + 0.5 * slope + 0.8 * form + (0.7 * own + detail) * fade

    shade = mirror_mean(np.median(tint, 0), 1)
    change = np.array([blur(x, 1.2) for x in colour - tint])
    limit = (0.08 - 0.05 * at_side)[..., None]
    hue = shade + limit * np.tanh(0.8 * change / limit) * fade[..., None]
    return np.rint(np.clip(np.exp(light[..., None] + hue) - 6, 0, 255)).astype(np.uint8)
