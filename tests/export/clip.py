"""A real clip as a camera's: a singer, and after a cut, at 7.89 s, the people who listen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from pyrage.x25519 import Identity

from anonymizer.assembly import detectors
from anonymizer.config import FacesSettings
from anonymizer.faces.detectors import Detector
from anonymizer.publish.live import LiveEncoder, LiveSettings
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.segments import Segmenter
from anonymizer.record.vault import Picture, VaultWriter
from anonymizer.statedir import StateDir
from tests.export.scene import WALL

CUT = 7.88


def path(shared: Path) -> Path:
    return shared / "footage/video/short_hamilton_clip.mp4"


def pictures(clip: Path, start: float = 0.0, stop: float = 60.0) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, BGR)."""
    with av.open(str(clip)) as source:
        for frame in source.decode(video=0):
            assert frame.time is not None
            if start <= frame.time < stop:
                yield frame.time, frame.to_ndarray(format="bgr24")


def packets(clip: Path) -> Iterator[av.Packet]:
    with av.open(str(clip)) as source:
        yield from source.demux(video=0)


def photos(shared: Path, folder: Path) -> list[Path]:
    """Of the singer."""
    written = []
    for at in (4.02, 7.02):
        _, picture = next(pictures(path(shared), at, at + 0.1))
        written.append(folder / f"photo{at}.png")
        cv2.imwrite(str(written[-1]), picture[:220, :320])
    return written


def face(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Where the largest face is."""
    (found,) = _detector().detect([picture], 0.5)
    x, y, w, h = found.boxes[found.boxes[:, 2].argmax()].round().astype(int)
    return int(x), int(y), int(w), int(h)


@cache
def _detector() -> Detector:
    return detectors(FacesSettings())[0]


def settings(shared: Path, folder: Path) -> Path:
    """A configuration whose recogniser is not the judge's."""
    model = shared / "models/omz_face-reidentification-retail-0095.onnx"
    file = folder / "config.yaml"
    file.write_text(f"faces: {{recogniser: '{model}'}}\n")
    return file


def keep(shared: Path, folder: Path, state: StateDir, start: float, stop: float) -> Path:
    """The clip's packets from a key frame on in a vault, as if a camera had sent them at WALL; the officer's key."""
    officer = Identity.generate()
    (folder / "officer").write_text(f"{officer}\n")
    with Catalogue(state.path) as catalogue:
        for file in _sealed(path(shared), folder / "vault", str(officer.to_public()), start, stop):
            catalogue.add(file)
    return folder / "officer"


def record(
    shared: Path, folder: Path, state: StateDir, start: float, stop: float
) -> list[tuple[float, np.ndarray]]:  # fmt: skip
    """The clip as if it were the anonymised stream, in segments and in the catalogue; what they show."""
    files: list[File] = []
    segmenter = Segmenter("gate", folder / "recordings", 60, files.append)
    encoder = LiveEncoder(640, 360, False, 29.97, LiveSettings(keyframe_interval=1.0, preset="ultrafast"))
    for at, picture in pictures(path(shared), start, stop):
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
        for unit in encoder.encode(frame, at, WALL + at):
            segmenter.take(unit)
    segmenter.close()
    with Catalogue(state.path) as catalogue:
        for file in files:
            catalogue.add(file)
    return recorded(state)


def recorded(state: StateDir) -> list[tuple[float, np.ndarray]]:
    """Every picture of the segments: its time in the clip, BGR."""
    with Catalogue(state.path) as catalogue:
        files = catalogue.files("segment", "gate")
    return [(file.start - WALL + at, picture) for file in files for at, picture in pictures(Path(file.path))]


def _sealed(clip: Path, folder: Path, public: str, start: float, stop: float) -> list[File]:
    told: list[dict[str, Any]] = []
    writer = VaultWriter([public], folder, "gate", told.append)
    with av.open(str(clip)) as source:
        video = source.streams.video[0]
        writer.connected("h264", video.width, video.height, b"", "yuv420p", None)
        annexb = BitStreamFilterContext("h264_mp4toannexb", video)
        begun = False
        for packet in source.demux(video):
            end = not packet.size
            for one in annexb.filter(None if end else packet):
                assert one.pts is not None and one.dts is not None
                present, decode = float(one.pts * one.time_base), float(one.dts * one.time_base)
                begun |= one.is_keyframe and present >= start
                if begun and present < stop:
                    writer.picture(Picture(bytes(one), one.is_keyframe, decode, present, WALL + present), "camera")
                    time.sleep(0.001)  # a camera does not send faster than a disk writes
            if end:
                break
    writer.close(60)
    assert not [one for one in told if "problem" in one]
    return [
        File("fragment", "gate", t["path"], t["start"], t["stop"], t["clock"], t["bytes"], t["sha256"], t["frames"])
        for t in told
    ]
