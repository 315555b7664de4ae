"""What is seen through the eye openings and between the lips: sclera, irises, the inside of the mouth."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.faces import topology as T

IRIS_RADIUS = 0.092
"""In eye distances: 11.7 mm across at 63 mm."""

# Each edge from the picture's left to its right.
EYE_LOWER, EYE_UPPER = T.EYE_RIGHT[:9], np.concatenate([T.EYE_RIGHT[:1], T.EYE_RIGHT[:7:-1]])
MOUTH_LOWER, MOUTH_UPPER = T.LIPS_INNER[:11], np.concatenate([T.LIPS_INNER[:1], T.LIPS_INNER[:9:-1]])


def between(
    bgr: np.ndarray, upper: np.ndarray, lower: np.ndarray, size: tuple[int, int], aspect: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The picture between two edges (k, 2), straightened: corner to corner, upper edge to lower edge.

    With aspect, the height is that share of the corners' distance whatever the opening. Returns uint8 (h, w, 3) and
    the place each pixel came from, float32 (h, w, 2).
    """
    width, height = size
    start, end = upper[0], upper[-1]
    length = float(np.hypot(*(end - start)))
    axis = (end - start) / length
    turn = np.stack([axis, [-axis[1], axis[0]]], 1)
    along = (np.arange(width) + 0.5) / width * length

    def curve(edge: np.ndarray) -> np.ndarray:
        flat = (edge - start) @ turn
        return np.interp(along, np.maximum.accumulate(flat[:, 0] + 1e-4 * np.arange(len(flat))), flat[:, 1])

    top, bottom = curve(upper), curve(lower)
    share = (np.arange(height)[:, None] + 0.5) / height
    down = top + share * (bottom - top if aspect is None else aspect * length)
    places = (np.stack([np.broadcast_to(along, down.shape), down], -1) @ turn.T + start).astype(np.float32)
    out = cv2.remap(bgr, places[..., 0], places[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out, places


def iris_centre(bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Centre of the right iris, (2,) in pixels: where a disc of an iris' size is darkest inside the opening."""
    eye = points[T.EYE_RIGHT, :2]
    distance = float(np.linalg.norm(points[T.IRIS_RIGHT, :2] - points[T.IRIS_LEFT, :2]))
    luma = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    dark = cv2.GaussianBlur(luma, (0, 0), IRIS_RADIUS * distance * 0.55)
    area = np.zeros(luma.shape, np.uint8)
    middle = eye.mean(0) + (eye - eye.mean(0)) * [0.55, 0.5]
    cv2.fillConvexPoly(area, cv2.convexHull(np.rint(middle).astype(np.int32)), 1)
    dark[area == 0] = 1e6
    y, x = np.unravel_index(int(dark.argmin()), dark.shape)
    return np.array([x, y], np.float64)


def ring_and_white(bgr: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Right eye straightened (24, 48, 3), where it is clear of the iris, its white's level, the iris' ring."""
    eye, places = between(bgr, points[EYE_UPPER, :2], points[EYE_LOWER, :2], (48, 24))
    radius = IRIS_RADIUS * float(np.linalg.norm(points[T.IRIS_RIGHT, :2] - points[T.IRIS_LEFT, :2]))
    centre = iris_centre(bgr, points)
    clear = np.linalg.norm(places - centre, axis=-1) > 1.4 * radius
    white = np.percentile(eye[clear].mean(1) if clear.any() else eye.mean(-1), 90)
    y, x = np.mgrid[: bgr.shape[0], : bgr.shape[1]]
    r = np.hypot(x - centre[0], y - centre[1]) / radius
    return eye, clear, white, bgr[(r > 0.45) & (r < 0.85) & (y > centre[1] - 0.1 * radius)].astype(np.float32)


def sclera(pictures: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    """The right eye's opening without its iris, uint8 (24, 48, 3): polynomials through the mean of what is seen.

    A mean may be taken here: at this size shading is all that there is. The skin around has 150 grey levels.
    """
    total, weight = np.zeros((24, 48, 3)), np.zeros((24, 48, 1))
    for bgr, p in zip(pictures, points, strict=True):
        eye, clear, white, _ = ring_and_white(bgr, p)
        total += clear[..., None] * eye * (185 / max(white, 40))
        weight += clear[..., None]
    y, x = np.mgrid[-1:1:24j, -1:1:48j]
    basis = np.stack([x**i * y**j for i in range(5) for j in range(3)], -1)
    w = np.sqrt(weight[..., 0])
    mean = total / np.maximum(weight, 1)
    mean = mean - 0.5 * (mean - mean.mean(-1, keepdims=True))  # orange lamps lit many of the portraits
    fit, *_ = np.linalg.lstsq((basis * w[..., None]).reshape(-1, 15), (mean * w[..., None]).reshape(-1, 3), rcond=None)
    return np.clip(basis @ fit, 40, 230).astype(np.uint8)


def iris_colours(pictures: list[np.ndarray], points: np.ndarray, tone: np.ndarray, count: int) -> np.ndarray:
    """Colours (count, 3) BGR of the portraits' irises, with the tint of their light taken out.

    They are the medians of irises of as many portraits, spread evenly from the bluest to the brownest.

    tone: BGR of the common skin, which says what tint a portrait's light has.
    """
    found = []
    for bgr, p in zip(pictures, points, strict=True):
        _, _, white, ring = ring_and_white(bgr, p)
        cheeks = p[T.points(50, 205, 280, 425), :2].astype(int)
        skin = np.median([cv2.blur(bgr, (5, 5))[y, x] for x, y in cheeks], 0).astype(np.float64)
        tint = tone / tone.mean() / (skin / skin.mean())
        colour = np.median(ring, 0) * tint / max(white, 40) * 175
        grey = colour.mean()
        found.append(np.clip(grey, 30, 95) / grey * (grey + 0.75 * (colour - grey)))
    colours = np.array(found)
    order = np.argsort(colours[:, 0] - colours[:, 2], kind="stable")
    at = (np.arange(count) + 0.5) / count * len(order)
    return np.clip(colours[order[at.astype(int)]], 10, 140)


def draw_iris(colour: np.ndarray, seed: int, side: int = 32) -> np.ndarray:
    """An iris with its pupil, uint8 (side, side, 3): fibres, a darker limbus, the lid's shadow, a highlight."""
    draw = np.random.default_rng(seed)
    half = side / 2
    y, x = np.mgrid[:side, :side] + 0.5 - half
    r, turn = np.hypot(x, y) / half, np.arctan2(y, x)
    fibres = np.interp(turn, np.linspace(-np.pi, np.pi, 48), draw.normal(0, 0.12, 48), period=2 * np.pi)
    out = colour * ((1 + fibres) * (1.2 - 0.35 * r) * (1 - 0.55 * np.clip((r - 0.78) / 0.22, 0, 1)))[..., None]
    pupil = np.clip((0.40 - r) / 0.08, 0, 1)[..., None]
    out = out * (1 - pupil) + 14 * pupil
    out *= (1 - 0.3 * np.clip(-y / half, 0, 1))[..., None]
    light = 130 * np.exp(-((x / half - 0.22) ** 2 + (y / half + 0.34) ** 2) / 0.02)
    return np.clip(out + light[..., None], 0, 255).astype(np.uint8)


MOUTHS = (
    "SFHQ_variability_ethnicity_002",
    "SFHQ_variability_ethnicity_007",
    "SFHQ_variability_ethnicity_030",
    "SFHQ_variability_expression_025",
    "SFHQ_variability_expression_028",
    "ts_2_Expression_top_10_025",
    "ts_2_Expression_top_10_027",
    "ts_2_Expression_top_10_029",
    "ts_2_Expression_x_Sex_top_10_026",
    "ts_2_Facial_Features_top_9_015",
    "ts_2_Facial_Hair_top_10_052",
    "ts_2_Hats_top_10_021",
    "ts_2_Jewelry_top_9_013",
)
"""Open mouths chosen by eye: adults, an even upper row of teeth, no lower row, no gums, no coloured light."""


def mouth(bgr: np.ndarray, points: np.ndarray, size: tuple[int, int] = (64, 32)) -> np.ndarray:
    """The inside of a portrait's open mouth, uint8 (h, w, 3), half as high as wide from the upper lip down.

    Where the portrait's own mouth ends, the picture goes on into the dark.
    """
    upper, lower = points[MOUTH_UPPER, :2], points[MOUTH_LOWER, :2]
    out, places = between(bgr, upper, lower, size, aspect=0.5)
    inside = np.zeros(bgr.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(np.concatenate([upper, lower[::-1]]) * 16).astype(np.int32)], 255, shift=4)
    inside = cv2.erode(inside, np.ones((3, 3), np.uint8))
    seen = cv2.remap(inside, places[..., 0], places[..., 1], cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    seen = cv2.GaussianBlur(seen, (0, 0), 1.2)[..., None]
    y = np.linspace(0, 1, size[1])[:, None, None]
    x = np.linspace(-1, 1, size[0])[None, :, None]
    tongue = np.exp(-((x / 0.55) ** 2) - ((y - 1.0) / 0.35) ** 2)
    dark = np.array([26, 22, 46]) * (1 - tongue) + np.array([62, 58, 112]) * tongue
    level = 200 / max(float(np.percentile(out[seen[..., 0] > 0.7], 97)) if (seen > 0.7).any() else 200.0, 60)
    return np.clip(out * level * seen + dark * (1 - seen), 0, 255).astype(np.uint8)
