"""Dark faces of 15 to 28 pixels behind windscreens, and profiles: what the detector alone hardly sees is covered."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer import redact as redacting
from anonymizer.config import Config, FacesSettings
from anonymizer.faces.detectors import load_detector
from anonymizer.faces.tracker import Tracker
from anonymizer.frame import Box
from anonymizer.ingest.picture import planes_of
from anonymizer.policy import load
from anonymizer.redact import Summary

SOLID = load("default: solid", "f")
SMALLEST = 15
"""Pixels of height from which on a face is asked for."""
SHARE = 0.8
"""Of the box, as everywhere else."""
KEYS: dict[str, dict[int, Box]] = {
    "opel driver": {0: (863, 324, 15, 22), 15: (912, 363, 17, 22), 30: (971, 420, 18, 23), 45: (1039, 490, 20, 26),
                    60: (1116, 573, 24, 30)},
    "opel passenger": {0: (927, 330, 14, 20), 15: (980, 369, 16, 22), 30: (1046, 422, 18, 24), 45: (1118, 498, 20, 26),
                       60: (1195, 582, 22, 26)},
    "renault driver": {0: (361, 208, 12, 15), 20: (389, 225, 14, 16), 40: (421, 248, 14, 17), 60: (453, 284, 15, 20),
                       80: (488, 338, 17, 20), 100: (530, 402, 19, 24), 120: (575, 495, 20, 26),
                       140: (620, 616, 24, 30)},
    "renault passenger": {0: (409, 206, 13, 18), 20: (440, 222, 14, 20), 40: (474, 244, 15, 22), 60: (515, 282, 16, 23),
                          80: (552, 335, 18, 26), 100: (600, 400, 20, 28), 120: (654, 494, 22, 30),
                          140: (713, 614, 26, 34)},
    "qashqai driver": {0: (640, 215, 12, 14), 20: (689, 232, 12, 15), 40: (750, 264, 14, 17), 60: (817, 304, 16, 19),
                       80: (897, 360, 17, 20), 95: (966, 420, 18, 22), 110: (1046, 485, 20, 26)},
    "audi driver": {0: (464, 288, 13, 16), 15: (498, 321, 14, 17), 30: (541, 364, 15, 18), 45: (585, 421, 17, 21),
                    60: (626, 490, 19, 24), 72: (655, 558, 20, 26)},
    "fiat passenger": {0: (479, 253, 12, 14), 20: (513, 284, 14, 16), 40: (558, 331, 16, 18), 60: (613, 393, 17, 20),
                       80: (687, 479, 19, 22), 95: (743, 565, 20, 25), 105: (774, 634, 22, 27)},
    "bmw driver": {0: (632, 602, 20, 26), 5: (638, 632, 21, 28)},
    "golf passenger": {110: (343, 191, 12, 13), 130: (386, 208, 13, 13), 150: (428, 232, 14, 14),
                       170: (469, 270, 15, 15), 185: (504, 308, 16, 17), 200: (557, 360, 18, 18),
                       215: (611, 429, 20, 21), 225: (645, 487, 22, 23), 235: (677, 550, 24, 24),
                       245: (704, 626, 24, 24)},
    "golf driver": {110: (384, 196, 12, 12), 130: (433, 213, 12, 13), 150: (478, 238, 13, 13), 170: (523, 276, 14, 14),
                    185: (565, 313, 15, 16), 200: (622, 364, 17, 18), 215: (683, 435, 20, 21), 225: (723, 495, 22, 22),
                    235: (761, 562, 24, 24), 245: (794, 636, 26, 25)},
}  # fmt: skip
"""Visible faces of cars.mp4 by frame, boxed by hand at five times the size. Not there: the red Audi's driver, hidden
by the visor, and the white BMW's, too dark to be seen at all."""


def labelled(frames: range) -> dict[str, list[tuple[int, Box]]]:
    """Boxes of faces that are large enough, in the frames: cubic Hermite curves through the keys."""
    found: dict[str, list[tuple[int, Box]]] = {}
    for name, keys in KEYS.items():
        times = np.array(list(keys), float)
        boxes = np.array(list(keys.values()), float)
        slopes = np.gradient(boxes, times, axis=0)
        for index in range(max(frames.start, int(times[0])), min(frames.stop - 1, int(times[-1])) + 1):
            at = min(int(np.searchsorted(times, index, "right")) - 1, len(times) - 2)
            step = times[at + 1] - times[at]
            t = (index - times[at]) / step
            box = (
                (2 * t**3 - 3 * t**2 + 1) * boxes[at]
                + (t**3 - 2 * t**2 + t) * step * slopes[at]
                + (3 * t**2 - 2 * t**3) * boxes[at + 1]
                + (t**3 - t**2) * step * slopes[at + 1]
            )
            if box[3] >= SMALLEST:
                x, y, width, height = box.tolist()
                found.setdefault(name, []).append((index, (x, y, width, height)))
    return found


def hidden(face: Box, boxes: list[Box]) -> float:
    """Share of the face under the boxes, by samples half a pixel apart."""
    x, y, width, height = face
    columns, rows = np.arange(x, x + width, 0.5), np.arange(y, y + height, 0.5)
    under = np.zeros((len(rows), len(columns)), bool)
    for left, top, across, down in boxes:
        under |= ((top <= rows) & (rows <= top + down))[:, None] & ((left <= columns) & (columns <= left + across))
    return float(under.mean())


def cut(source: Path, target: Path, first: int, count: int) -> Path:
    """Some packets of a video, as they are; a key frame is the first."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as output:
        stream = reader.streams.video[0]
        copied = output.add_stream_from_template(stream)
        for number, packet in enumerate(reader.demux(stream)):
            if packet.dts is not None and first <= number < first + count:
                packet.stream = copied
                output.mux(packet)
    return target


def redacted(source: Path, folder: Path, config: Config, copy: bool) -> tuple[Summary, dict[int, list[Box]]]:
    report = folder / "report.json"
    summary = redacting.redact(source, folder / "out.mp4", config, SOLID, report=report, copy=copy)
    frames = json.loads(report.read_text())["frames"]
    return summary, {frame["index"]: [tuple(face["box"]) for face in frame["faces"]] for frame in frames}


def coverage(frames: range, boxes: dict[int, list[Box]]) -> dict[str, float]:
    """Share of each person's frames in which the face is covered."""
    return {
        name: float(np.mean([hidden(face, boxes[index]) >= SHARE for index, face in faces]))
        for name, faces in labelled(frames).items()
    }


MODES = {"copy": (Config(), True), "thorough": (Config(faces=FacesSettings(thorough=True)), False)}


@pytest.mark.parametrize("mode", list(MODES))
def test_drivers_are_covered(shared: Path, tmp_path: Path, mode: str) -> None:
    source = cut(shared / "footage" / "video" / "cars.mp4", tmp_path / "in.mp4", 0, 76)
    summary, boxes = redacted(source, tmp_path, *MODES[mode])
    found = coverage(range(70), boxes)
    assert len(found) == 8
    assert min(found.values()) >= 0.95, found
    assert summary.copied_gops == 0
    area = sum(width * height for faces in boxes.values() for _, _, width, height in faces) / summary.frames
    assert area < 0.04 * 1280 * 720  # not by covering much


def test_without_evidence_they_are_not(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels ask for what single sightings do not give."""
    monkeypatch.setattr(Tracker, "_evident", lambda self, track: False)
    source = cut(shared / "footage" / "video" / "cars.mp4", tmp_path / "in.mp4", 0, 76)
    found = coverage(range(70), redacted(source, tmp_path, *MODES["copy"])[1])
    assert found["qashqai driver"] < 0.2, found


@pytest.mark.soak
@pytest.mark.parametrize("mode", list(MODES))
def test_all_drivers_are_covered(shared: Path, tmp_path: Path, mode: str) -> None:
    """The Golf's driver too, who is all shadow but for the chin above a white collar."""
    summary, boxes = redacted(shared / "footage" / "video" / "cars.mp4", tmp_path, *MODES[mode])
    found = coverage(range(268), boxes)
    assert len(found) == 10 and summary.copied_gops == 0
    assert min(found.values()) >= 0.95, found


def profiles(shared: Path, folder: Path, source: Path, copy: bool, step: int) -> None:
    """Another detector's faces, in every so manyth picture, are covered."""
    summary, boxes = redacted(source, folder, Config(), copy)
    assert not copy or 0 < summary.copied_gops < summary.gops
    judge = load_detector(shared / "attackers" / "scrfd_2.5g_kps.onnx")
    cv2.setNumThreads(1)
    seen = missed = 0
    with av.open(str(source)) as reader:
        for index, picture in enumerate(reader.decode(video=0)):
            if index % step == 0:
                for x, y, width, height in judge.detect([planes_of(picture).bgr()], 0.4)[0].boxes.tolist():
                    seen += 1
                    missed += hidden((x, y, width, height), boxes[index]) < SHARE
    assert seen >= 10 and missed == 0, (seen, missed)


def test_profiles_are_covered(shared: Path, tmp_path: Path) -> None:
    """A man who stands and turns in a room, and leaves it; the empty GOPs after him are copied."""
    source = shared / "footage" / "video" / "one-by-one-person-detection.mp4"
    profiles(shared, tmp_path, cut(source, tmp_path / "in.mp4", 340, 140), copy=True, step=1)


@pytest.mark.soak
@pytest.mark.parametrize("copy", [True, False])
def test_all_profiles_are_covered(shared: Path, tmp_path: Path, copy: bool) -> None:
    profiles(shared, tmp_path, shared / "footage" / "video" / "one-by-one-person-detection.mp4", copy, step=3)
