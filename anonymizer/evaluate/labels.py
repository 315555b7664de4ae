"""What is known of a clip: label files, and the reports of ``anonymizer redact``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anonymizer.errors import ConfigError, SourceError
from anonymizer.evaluate.recall import Known
from anonymizer.frame import Box
from anonymizer.ingest.file import VideoFormat


@dataclass(frozen=True, slots=True)
class Labels:
    """frames: known faces by frame number, also where there are none. fps: frames a second, 0 for a photo."""

    frames: dict[int, list[Known]]
    width: int
    height: int
    fps: float

    def check(self, video: VideoFormat) -> None:
        """ConfigError where these are another clip's. A pixel or a hundredth of the rate is rounding."""
        same = abs(self.width - video.width) <= 1 and abs(self.height - video.height) <= 1
        if not same or (self.fps and abs(self.fps / float(video.rate) - 1) > 0.01):
            raise ConfigError(
                f"its labels are of {self.width} × {self.height} at {self.fps:g} a second, it has {video.width} × "
                f"{video.height} at {float(video.rate):g}; are they this clip's?"
            )


@dataclass(frozen=True, slots=True)
class Painted:
    """A face of a report. box: the rectangle that was painted, or the face's where nothing was. person: who was drawn
    over it, None where the report does not say."""

    track: int
    box: Box
    action: str
    method: str
    person: int | None = None

    @property
    def shown(self) -> int:
        """Who is seen in its place, as a number: the person drawn, or the track, which has a person of its own."""
        return self.track if self.person is None else self.person

    @property
    def hidden(self) -> bool:
        return self.action != "keep" and self.method != "keep"


@dataclass(frozen=True, slots=True)
class Done:
    """What a report says of one frame. whole: it was covered whole."""

    faces: list[Painted]
    whole: bool = False


def read_labels(path: Path) -> Labels:
    """A label file: {"width", "height", "fps", "frames": [{"index", "faces": [{"track", "box": [x, y, w, h], "state",
    "pose"}]}]}; faces whose state is not ``face`` need not be covered. SourceError for a file that is none."""
    data = _read(path, "label file")
    try:
        frames = {
            int(frame["index"]): [
                Known(int(f["track"]), _box(f["box"]), f.get("state", "face") == "face", str(f.get("pose", "")))
                for f in frame["faces"]
            ]
            for frame in data["frames"]
        }
        return Labels(frames, int(data["width"]), int(data["height"]), float(data.get("fps") or 0))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path}: is no label file ({error!r})") from error


def read_report(path: Path) -> dict[int, Done]:
    """What was done to each frame, by its number. SourceError for a file that is no report."""
    data = _read(path, "report")
    try:
        return {
            int(frame["index"]): Done(
                [_painted(face) for face in frame["faces"]],
                bool(frame.get("covered")) or any(f.get("method") == "privacy" for f in frame["faces"]),
            )
            for frame in data["frames"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path}: is no report of `anonymizer redact` ({error!r})") from error


def _painted(face: dict[str, Any]) -> Painted:
    person = face.get("person")
    method = str(face.get("method") or face["action"])
    return Painted(
        int(face["track"]), _box(face["box"]), str(face["action"]), method, None if person is None else int(person)
    )


def find_labels(given: Path, clip: Path) -> Path | None:
    """The label file for a clip: the file given, or in a folder the one whose ``bundle_path`` the clip's path ends
    with, or else the one of the clip's name; None where there is none."""
    if given.is_file():
        return given
    if not given.is_dir():
        raise SourceError(f"{given}: there is no such label file or folder")
    whole = clip.resolve().as_posix()
    for path in sorted(given.glob("*.json")):
        bundle = _read(path, "label file").get("bundle_path")
        if bundle and whole.endswith(f"/{bundle}"):
            return path
    own = given / f"{clip.stem}.json"
    return own if own.is_file() else None


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: the {kind} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SourceError(f"{path}: the {kind} is no JSON ({error})") from error
    if not isinstance(data, dict) or "frames" not in data:
        raise SourceError(f"{path}: is no {kind}: it has no frames")
    return data


def _box(values: Any) -> Box:
    x, y, w, h = (float(v) for v in values[:4])
    return x, y, w, h
