"""Pictures to learn landmarks from: portraits and small photographs turned, covered, spoilt, encoded, and cut out.

Only clean pictures were labelled (``teacher``). Everything here moves pixels and labels together, so the labels stay as
good as they were however little of the face is left to see.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from turning import Turner

from anonymizer.faces import topology
from anonymizer.faces.landmarks import CROP_SCALE, crop_around
from anonymizer.faces.pose import pose_of

FOLDERS = ("faces", "photos/bare", "photos/masked", "photos/people")
SHARES = {"faces": 0.40, "bare": 0.28, "masked": 0.10, "people": 0.22}
PLAIN = 0.6
"""Share of the faces that are shown as they are, but for eyes and mouth; the others are turned in space, their shape
mixed."""
BLINK, GAPE = 0.5, 0.3
"""Shares of the faces whose eyes, and whose mouth, are opened or shut."""
TILE = 128
"""Side of a stored picture: a crop and a margin, so that it can still be shifted, scaled and turned."""
MARGIN = 128 / 112
"""Side of a stored picture over that of the crop in it."""
RENDER = 192

Rng = np.random.Generator


class Sample(NamedTuple):
    """image: uint8 (TILE, TILE, 3) BGR. label: float32 (200, 3) in pixels of the tile. presence: 1, 0, or -1 where
    nobody could say. weight: of the label, 0–1."""

    image: np.ndarray
    label: np.ndarray
    presence: float
    weight: float


def listed(shared: Path, folders: tuple[str, ...] = FOLDERS) -> list[Path]:
    """Every picture of the folders, sorted, so that runs agree."""
    return sorted(path for folder in folders for path in (shared / folder).iterdir() if path.suffix in {".jpg", ".png"})


def held_out(name: str) -> bool:
    """True for one picture in twelve, chosen by a hash of its file name: never trained on, only validated on."""
    return hashlib.sha256(Path(name).name.encode()).digest()[0] % 12 == 0


class Pictures:
    """An endless source of samples. labels: what ``teacher`` wrote. validation: draw from the held-out pictures."""

    def __init__(self, shared: Path, labels: Path, seed: int, validation: bool = False) -> None:
        data = np.load(labels)
        keep = (data["presences"] > 0.5) & (data["spreads"] < 0.12)
        keep &= np.array([held_out(str(name)) == validation for name in data["names"]])
        self.names = [str(name) for name in data["names"][keep]]
        self.labels = data["labels"][keep]
        self.weights = np.clip(0.025 / data["spreads"][keep], 0.2, 1)
        self.poses = pose_of(self.labels)
        self.shared = shared
        kinds = np.array([Path(name).parent.name for name in self.names])
        chances = np.zeros(len(kinds))
        for kind, share in SHARES.items():
            chances[kinds == kind] = share / max(1, (kinds == kind).sum())
        self.chances = chances / chances.sum()
        sure = (data["spreads"] < 0.03) & (data["presences"] > 0.99) & keep_portraits(data["names"])
        self.turner = Turner(data["labels"][sure])
        self.scenes = [path for path in listed(shared, ("photos/scenes",)) if held_out(path.name) == validation]
        self.boxes: dict[str, list[np.ndarray]] = {}
        for name, box in zip(data["names"], data["boxes"], strict=True):
            self.boxes.setdefault(str(name), []).append(box)
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Sample]:
        while True:
            yield from self._sheet()

    def _sheet(self) -> list[Sample]:
        """One picture full of tiles, spoilt and encoded together as a camera's picture would be."""
        rng = self.rng
        width, height = 640, 480
        sheet = cv2.resize(self._scene(), (width, height))
        placed: list[tuple[int, int, int, Sample]] = []
        x = y = shelf = 0
        while True:
            side = self._side()
            if x + side > width:
                x, y, shelf = 0, y + shelf + int(rng.integers(1, 6)), 0
            if y + side > height:
                break
            sample = self._negative() if rng.random() < 0.08 else self._positive()
            small = cv2.resize(sample.image, (side, side), interpolation=cv2.INTER_AREA)
            sheet[y : y + side, x : x + side] = _spoilt(small, rng)
            placed.append((x, y, side, sample))
            x, shelf = x + side + int(rng.integers(1, 6)), max(shelf, side)
        if rng.random() < 0.85:
            sheet = _encoded(sheet, int(rng.integers(20, 39)), rng)
        samples = []
        for x, y, side, sample in placed:
            tile = sheet[y : y + side, x : x + side]
            how = cv2.INTER_AREA if side > TILE else cv2.INTER_LINEAR
            label = sample.label.copy()
            label *= TILE / RENDER
            samples.append(sample._replace(image=cv2.resize(tile, (TILE, TILE), interpolation=how), label=label))
        return samples

    def _side(self) -> int:
        """Pixels of a tile in the camera's picture: faces of 18 to 100 pixels, and two in five large and sharp."""
        rng = self.rng
        face = rng.uniform(90, 112) if rng.random() < 0.4 else np.exp(rng.uniform(np.log(18), np.log(90)))
        return int(face * CROP_SCALE * MARGIN)

    def _positive(self) -> Sample:
        rng = self.rng
        number = int(rng.choice(len(self.names), p=self.chances))
        label = self.labels[number]
        picture = cv2.imread(str(self.shared / self.names[number]))
        if self.names[number].startswith("photos/people"):
            picture, label = _around(picture, label)
        plain = rng.random() < PLAIN
        yaw = pitch = mix = blink = gape = 0.0
        if not plain and rng.random() < 0.8:
            has_yaw, has_pitch, _ = (float(value) for value in self.poses[number])
            target = rng.uniform(-52, 52)
            if abs(has_yaw) > 12 and target * has_yaw < 0:
                target = -target  # the other side of the face is not in the picture
            yaw = float(np.clip(target - has_yaw, -45, 45))
            pitch = float(np.clip(rng.normal(-6, 18), has_pitch - 38, has_pitch + 32)) - has_pitch
        if not plain and rng.random() < 0.5:
            mix = rng.uniform(0, 0.5)
        if rng.random() < BLINK:
            blink = rng.uniform(-0.35, 0.95)
        if rng.random() < GAPE:
            gape = rng.uniform(-0.9, 0.4)
        distance = float(np.exp(rng.uniform(np.log(2.5), np.log(25)))) if not plain else 1e3
        other = int(rng.integers(len(self.turner.shapes)))
        before, after = self.turner(label, yaw, pitch, mix, other, blink, gape, distance)
        same = plain and not blink and not gape

        points = after[: topology.COUNT]
        crop = crop_around(points[:, :2].astype(np.float32))
        grow = float(np.clip(np.exp(rng.normal(0, 0.06)), 0.75, 1.3))
        roll = crop.roll + np.radians(rng.normal(0, 5) if rng.random() < 0.93 else rng.uniform(-40, 40))
        shift = np.clip(rng.normal(0, 0.025, 2), -0.1, 0.1) * crop.side
        off = rng.random() < 0.04
        if off:  # so far beside the face that there is nothing to say
            angle = rng.uniform(0, 2 * np.pi)
            shift = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.55, 0.9) * crop.side
        crop = crop._replace(x=crop.x + shift[0], y=crop.y + shift[1], side=crop.side * grow * MARGIN, roll=roll)
        frame = crop.to_frame(RENDER).astype(np.float64)
        inverse = np.linalg.inv(frame[:, :2])
        after[:, :2] = (after[:, :2] - frame[:, 2]) @ inverse.T
        after[:, 2] *= RENDER / crop.side
        shrink = crop.side / RENDER
        if shrink > 1.5:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * shrink)
        if same:  # from pixel edges to pixel centres
            frame[:, 2] += frame[:, :2].sum(1) / 2 - 0.5
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            image = cv2.warpAffine(picture, frame, (RENDER, RENDER), flags=how, borderMode=cv2.BORDER_REPLICATE)
        else:
            map_x, map_y = self.turner.maps(before - 0.5, after - (0.5, 0.5, 0), RENDER)
            image = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        label = after[: topology.COUNT].astype(np.float32)
        label[:, 2] -= label[:, 2].mean()

        hidden = 0.0
        if rng.random() < (0.2 if plain else 0.4):
            image, hidden = self._covered(image, label, picture)
        if rng.random() < 0.5:
            image, label = image[:, ::-1], label[topology.MIRROR] * (-1, 1, 1) + (RENDER, 0, 0)
        image = np.ascontiguousarray(image)
        if rng.random() < 0.6:
            image = _lit(image, rng)
        if off:
            return Sample(image, label.astype(np.float32), 0, 0)
        presence = 1.0 if hidden < 0.55 else -1.0 if hidden < 0.75 else 0.0
        weight = float(self.weights[number]) * max(0.0, 1 - hidden) if hidden < 0.75 else 0.0
        return Sample(image, label.astype(np.float32), presence, weight)

    def _covered(self, image: np.ndarray, label: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, float]:
        """Something in front of the face; the share of the face's oval that it hides."""
        rng = self.rng
        image = image.copy()
        mask = np.zeros(image.shape[:2], np.uint8)
        points = label[:, :2]
        face = points[topology.OVAL]
        low, high = face.min(0), face.max(0)
        unit = float((high - low).max())
        kind = rng.choice(
            ["mask", "hand", "glasses", "patch", "bar", "hair", "many"], p=(0.2, 0.2, 0.17, 0.18, 0.08, 0.1, 0.07)
        )
        if kind == "mask":
            nose = points[topology.points(5, 195, 4)[int(rng.integers(3))]] + rng.normal(0, 0.02, 2) * unit
            lower = face[9:28] + rng.normal(0, 0.01, (19, 2)) * unit
            outline = np.concatenate([lower * 1.0, nose[None]])
            centre = outline.mean(0)
            outline = centre + (outline - centre) * rng.uniform(1.0, 1.08)
            cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255)
        elif kind == "hand":
            _hand(mask, low + rng.random(2) * (high - low), unit, rng)
        elif kind == "glasses":
            for outline in (topology.EYE_RIGHT, topology.EYE_LEFT):
                eye = points[outline]
                size = np.array([0, unit * 0.04]) + np.maximum(np.ptp(eye, 0) * rng.uniform(0.65, 0.95), unit * 0.06)
                thickness = -1 if rng.random() < 0.6 else int(rng.integers(1, 5))
                cv2.ellipse(mask, _pixel(eye.mean(0)), _pixel(size), 0, 0, 360, 255, thickness)
            cv2.line(mask, _pixel(points[topology.points(133)[0]]), _pixel(points[topology.points(362)[0]]), 255, 3)
        elif kind == "hair":
            cv2.fillPoly(mask, [_blob(low + (high - low) * (rng.random(), rng.uniform(0, 0.35)), unit * 0.4, rng)], 255)
        elif kind == "bar":
            start, end = (low + rng.uniform(-0.3, 1.3, 2) * (high - low) for _ in range(2))
            cv2.line(mask, _pixel(start), _pixel(end), 255, int(rng.uniform(0.05, 0.35) * unit))
        else:
            for _ in range(int(rng.integers(3, 7)) if kind == "many" else 1):
                centre = low + rng.uniform(-0.1, 1.1, 2) * (high - low)
                if rng.random() < 0.5:
                    blob = _blob(centre, unit * rng.uniform(0.1, 0.6), rng)
                else:
                    half = unit * rng.uniform(0.08, 0.45, 2)
                    blob = cv2.boxPoints((centre.tolist(), (2 * half).tolist(), float(rng.uniform(0, 180))))
                cv2.fillPoly(mask, [np.rint(blob).astype(np.int32)], 255)
        texture = self._texture(kind, image, source)
        soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2)).astype(np.float32)[..., None] / 255
        if kind == "glasses" and rng.random() < 0.4:
            soft *= rng.uniform(0.4, 0.9)
        oval = np.zeros_like(mask)
        cv2.fillPoly(oval, [np.rint(face).astype(np.int32)], 1)
        hidden = float((oval * (mask > 127)).sum() / max(1, oval.sum()))
        return (image + (texture - image.astype(np.float32)) * soft).astype(np.uint8), hidden

    def _texture(self, kind: str, image: np.ndarray, source: np.ndarray) -> np.ndarray:
        """float32 (RENDER, RENDER, 3): skin for hands, hair for hair, cloth for masks, anything for the rest."""
        rng = self.rng
        shade = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (RENDER, RENDER), interpolation=cv2.INTER_CUBIC)
        if kind == "hand":
            height, width = image.shape[:2]
            patch = image[int(height * 0.45) : int(height * 0.6), int(width * 0.35) : int(width * 0.65)]
            colour = patch.reshape(-1, 3).mean(0) * rng.uniform(0.7, 1.25)
        elif kind == "hair":
            strip = cv2.resize(source[: max(8, source.shape[0] // 6)], (RENDER, RENDER))
            return strip.astype(np.float32)
        elif kind in {"mask", "glasses", "bar"}:
            colour = rng.choice(
                [rng.uniform(0, 50, 3), rng.uniform(200, 255, 3), rng.uniform(0, 255, 3), (200, 180, 120)]
            )
        else:
            return cv2.resize(_cut(self._scene(), rng), (RENDER, RENDER)).astype(np.float32)
        return np.clip(np.asarray(colour, np.float32) + shade[..., None] * rng.uniform(2, 22), 0, 255)

    def _scene(self) -> np.ndarray:
        return cv2.imread(str(self.scenes[int(self.rng.integers(len(self.scenes)))]))

    def _negative(self) -> Sample:
        """A place without a face: of a scene, or of a photograph beside its faces, or skin and cloth."""
        rng = self.rng
        if rng.random() < 0.5:
            image = _cut(self._scene(), rng)
        else:
            name = self.names[int(rng.choice(len(self.names), p=self.chances))]
            picture = cv2.imread(str(self.shared / name))
            height, width = picture.shape[:2]
            image = None
            for _ in range(12):
                side = int(rng.uniform(0.12, 0.5) * min(height, width))
                x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
                if not any(_touch((x, y, side), box) for box in self.boxes[name]):
                    image = picture[y : y + side, x : x + side]
                    break
            if image is None:
                image = _cut(self._scene(), rng)
        image = cv2.resize(image, (RENDER, RENDER))
        label = np.zeros((topology.COUNT, 3), np.float32)
        return Sample(_lit(image, rng), label, 0, 0)


def keep_portraits(names: np.ndarray) -> np.ndarray:
    return np.array([str(name).startswith("faces/") for name in names])


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return max(-9999, round(float(point[0]))), max(-9999, round(float(point[1])))


def _around(picture: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a large photograph around one face, and the label in it."""
    low, high = label[:, :2].min(0), label[:, :2].max(0)
    reach = (high - low).max() * 1.5
    left, top = np.maximum(((low + high) / 2 - reach).astype(int), 0)
    right, bottom = ((low + high) / 2 + reach).astype(int) + 1
    return picture[top:bottom, left:right], label - np.array([left, top, 0], np.float32)


def _touch(square: tuple[int, int, int], box: np.ndarray) -> bool:
    """The square holds any of the box's middle half."""
    x, y, side = square
    left, top, width, height = box
    return bool(
        x < left + 0.85 * width
        and x + side > left + 0.15 * width
        and y < top + 0.85 * height
        and y + side > top + 0.15 * height
    )


def _cut(picture: np.ndarray, rng: Rng) -> np.ndarray:
    height, width = picture.shape[:2]
    side = int(rng.uniform(0.08, 0.9) * min(height, width))
    x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    return picture[y : y + side, x : x + side]


def _blob(centre: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """A closed outline (24, 2), round and uneven."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = radius * (1 + sum(rng.uniform(0, 0.25) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in (1, 2, 3)))
    stretch = rng.uniform(0.6, 1.4)
    return (centre + np.stack([np.cos(angles) * reach * stretch, np.sin(angles) * reach], 1)).astype(np.int32)


def _hand(mask: np.ndarray, at: np.ndarray, unit: float, rng: Rng) -> None:
    """A palm and four fingers, fist to spread, drawn into the mask."""
    scale = unit * rng.uniform(0.5, 0.9)
    direction = rng.uniform(0, 2 * np.pi)
    palm = at - 0.45 * scale * np.array([np.cos(direction), np.sin(direction)])
    cv2.ellipse(
        mask, _pixel(palm), _pixel(np.array([0.27, 0.23]) * scale), float(np.degrees(direction)), 0, 360, 255, -1
    )
    wrist = palm - scale * np.array([np.cos(direction), np.sin(direction)])
    cv2.line(mask, _pixel(palm), _pixel(wrist), 255, max(1, int(0.3 * scale)))
    spread, length = rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.6)
    for finger in range(4):
        angle = direction + (finger - 1.5) * spread
        side = (finger - 1.5) * 0.12 * scale * np.array([-np.sin(direction), np.cos(direction)])
        start = palm + side + 0.1 * scale * np.array([np.cos(direction), np.sin(direction)])
        end = start + length * scale * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, _pixel(start), _pixel(end), 255, max(1, int(0.105 * scale)))


def _lit(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Another light: a gradient across the face, exposure, contrast, tint, grey."""
    f = image.astype(np.float32) / 255
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
        slope = np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]
        f *= np.exp(rng.normal(0, 0.6) * slope)[..., None]
    if rng.random() < 0.5:
        f *= np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
    f = np.clip(f * np.exp(rng.normal(0, 0.25)), 0, 1.6)
    f = np.minimum(f, 1) ** np.exp(rng.normal(0, 0.3))
    if rng.random() < 0.12:
        f *= rng.uniform(0.1, 0.4)
    if rng.random() < 0.3:
        low = rng.uniform(0, 0.25)
        f = low + f * rng.uniform(0.4, 1 - low)
    if rng.random() < 0.18:
        f = np.repeat(f @ np.array([0.114, 0.587, 0.299], np.float32)[:, None], 3, 2)
        if rng.random() < 0.2:
            f = 1 - 0.6 * (1 - f)  # washed out, as under an infra-red lamp
    return (np.clip(f, 0, 1) * 255).astype(np.uint8)


def _spoilt(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Blur of lens and motion, and the sensor's noise, at the camera's resolution."""
    side = image.shape[0]
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, max(0.5, side / 60)))
    if rng.random() < 0.2:
        length = int(rng.integers(2, max(4, side // 8)))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        angle = rng.uniform(0, np.pi)
        reach = length * np.array([np.cos(angle), np.sin(angle)]) / 2
        cv2.line(kernel, _pixel(length - reach), _pixel(length + reach), 1.0, 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    if rng.random() < 0.4:
        grain = rng.normal(0, rng.uniform(1, 14), (side, side, 1 if rng.random() < 0.6 else 3))
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    return image


def _encoded(sheet: np.ndarray, crf: int, rng: Rng) -> np.ndarray:
    """The picture as the last of a few H.264 frames of a slightly moving camera."""
    height, width = sheet.shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "superfast", "tune": "zerolatency", "threads": "1"}
        step = rng.integers(-2, 3, 2)
        for number in reversed(range(int(rng.integers(1, 4)))):
            moved = np.roll(sheet, tuple(number * step), (0, 1))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "bgr24")))
        out.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as back:
        back.streams.video[0].thread_count = 1
        return list(back.decode(video=0))[-1].to_ndarray(format="bgr24")
