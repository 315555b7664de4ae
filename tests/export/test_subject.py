from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from pyrage.x25519 import Identity

from anonymizer.assembly import detectors
from anonymizer.config import FacesSettings
from anonymizer.export.evidence import Bounds, Look, Verdict, judge, kept
from anonymizer.faces.recogniser import Recogniser
from anonymizer.record import audit, label
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.vault import Picture, VaultWriter
from anonymizer.statedir import StateDir
from tests.export import scene
from tests.export.scene import WALL

BOUNDS = Bounds()


def looks(*similarities: float | None, start: int = 0, **more: bool) -> list[Look]:
    return [
        Look(start + i, (start + i) / 25, similarity, similarity is not None, **more)
        for i, similarity in enumerate(similarities)
    ]


def test_a_track_is_the_persons_for_its_whole_length_profiles_too() -> None:
    told = looks(*[0.7] * 6, *[None] * 20, *[0.6] * 6)
    (piece,) = judge({1: told}, [], BOUNDS)
    assert piece.verdict is Verdict.SUBJECT
    shown, doubtful = kept([piece], BOUNDS)
    assert shown == {(1, index) for index in range(32)} and not doubtful


def test_contradiction_few_looks_or_no_majority_hide_all_of_it() -> None:
    for told, why in (
        (looks(*[0.7] * 20, *[0.1] * 3), "others that it is not"),
        (looks(*[0.7] * 4), "only 4 looks"),
        (looks(*[0.7, 0.7, 0.1] * 5), "no clear majority"),
    ):
        (piece,) = judge({1: told}, [], BOUNDS)
        assert piece.verdict is Verdict.DOUBT and why in piece.why
        assert kept([piece], BOUNDS)[0] == set()


def test_a_track_that_jumps_crosses_or_was_lost_is_judged_anew() -> None:
    person, other = looks(*[0.7] * 10), looks(*[0.1] * 10, start=10)
    for tracks, jumps in (
        ({1: person + other}, [10 / 25]),
        ({1: person + looks(*[0.7] * 3, start=10, crosses=True) + looks(*[0.1] * 10, start=13)}, []),
        ({1: person + looks(None, None, start=10, seen=False) + looks(*[0.1] * 10, start=19)}, []),
    ):
        shown, _ = kept(judge(tracks, jumps, BOUNDS), BOUNDS)
        assert {(1, index) for index in range(10)} <= shown <= {(1, index) for index in range(12)}


def test_beside_another_face_only_what_the_recogniser_says_counts() -> None:
    told = looks(*[0.7] * 10) + looks(0.7, None, 0.7, start=10, near=True)
    shown, _ = kept(judge({1: told}, [], BOUNDS), BOUNDS)
    assert shown == {(1, index) for index in range(11)}


def test_nobody_is_in_two_places() -> None:
    alike = judge({1: looks(*[0.7] * 10), 2: looks(*[0.65] * 10)}, [], BOUNDS)
    assert {piece.verdict for piece in alike} == {Verdict.DOUBT}
    clear = judge({1: looks(*[0.8] * 10), 2: looks(*[0.55] * 10)}, [], BOUNDS)
    assert {piece.track: piece.verdict for piece in clear} == {1: Verdict.SUBJECT, 2: Verdict.DOUBT}


def test_far_from_any_look_that_speaks_a_face_is_hidden() -> None:
    shown, doubtful = kept(judge({1: looks(*[0.7] * 10, *[None] * 200)}, [], BOUNDS), BOUNDS)
    assert (1, 80) in shown and (1, 100) in doubtful and len(shown) + len(doubtful) == 210


# The person in a real clip, judged by a recogniser that the product does not have


def sealed(clip: Path, folder: Path, public: str) -> list[File]:
    """A clip's packets in the vault, as if a camera had sent them at WALL."""
    told: list[dict[str, Any]] = []
    writer = VaultWriter([public], folder, "gate", told.append)
    with av.open(str(clip)) as source:
        video = source.streams.video[0]
        writer.connected("h264", video.width, video.height, b"", "yuv420p", None)
        annexb = BitStreamFilterContext("h264_mp4toannexb", video)
        for packet in source.demux(video):
            end = not packet.size
            for one in annexb.filter(None if end else packet):
                assert one.pts is not None and one.dts is not None
                present, decode = float(one.pts * one.time_base), float(one.dts * one.time_base)
                writer.picture(Picture(bytes(one), one.is_keyframe, decode, present, WALL + present), "camera")
            if end:
                break
            time.sleep(0.001)  # a camera does not send faster than a disk writes
    writer.close(60)
    assert not [one for one in told if "problem" in one]
    return [
        File("fragment", "gate", t["path"], t["start"], t["stop"], t["clock"], t["bytes"], t["sha256"], t["frames"])
        for t in told
    ]


def pictures(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            assert frame.time is not None
            yield frame.time, frame.to_ndarray(format="bgr24")


class Judge:
    """y1, and the figures of labels/leak.py: still matching, and the control, faces filled with grey."""

    def __init__(self, shared: Path, photos: list[Path]) -> None:
        self.limit = json.loads((shared / "labels/thresholds.json").read_text())["y1"]["threshold"]
        self._recogniser = Recogniser(shared / "attackers/insightface_y1_mobilefacenet.onnx", "y1")
        self._detector, _ = detectors(FacesSettings())
        self.person = np.concatenate([self._recogniser(image, self._found(image)[1]) for image in map(read, photos)])
        self.identified = self.still = self.others = self.matched = self.control = 0

    def _found(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (found,) = self._detector.detect([image], 0.5)
        return found.boxes, found.points

    def look(self, original: np.ndarray, exported: np.ndarray) -> None:
        boxes, points = self._found(original)
        if not len(boxes):
            return
        grey = original.copy()
        for x, y, w, h in boxes.astype(int):
            cv2.rectangle(grey, (x, y), (x + w, y + h), (128, 128, 128), -1)
        was, now, filled = (self._recogniser(image, points) for image in (original, exported, grey))
        for box, a, b, c in zip(boxes, was, now, filled, strict=True):
            if (self.person @ a).max() > self.limit:
                self.identified += 1
                self.still += (self.person @ b).max() > self.limit
            elif box[3] >= 40:
                self.others += 1
                self.matched += a @ b > self.limit
                self.control += a @ c > self.limit


def read(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path)), np.uint8)


@pytest.mark.parametrize(
    ("start", "stop", "seen", "beside"),
    [
        pytest.param(6.9, 8.4, 10, 30, id="a cut to other people"),
        pytest.param(0.0, 60.0, 140, 300, id="whole clip", marks=pytest.mark.soak),
    ],
)
def test_the_person_who_asks_stays_and_everybody_else_goes(
    shared: Path, tmp_path: Path, start: float, stop: float, seen: int, beside: int
) -> None:
    clip = shared / "footage/video/short_hamilton_clip.mp4"
    state, officer = StateDir(tmp_path / "state"), Identity.generate()
    (tmp_path / "officer").write_text(f"{officer}\n")
    with Catalogue(state.path) as catalogue:
        for file in sealed(clip, tmp_path / "vault", str(officer.to_public())):
            catalogue.add(file)
    originals = list(pictures(clip))
    photos = []
    for number in (95, 185):
        photos.append(tmp_path / f"photo{number}.png")
        cv2.imwrite(str(photos[-1]), originals[number][1][:220, :320])
    model = shared / "models/omz_face-reidentification-retail-0095.onnx"
    (tmp_path / "config.yaml").write_text(f"faces: {{recogniser: '{model}'}}\n")
    target = tmp_path / "copy.zip"
    words = scene.arguments(
        tmp_path, "subject", target, "--camera", "gate", "--from", label.utc(WALL + start), "--to",
        label.utc(WALL + stop), "--identity", tmp_path / "officer", "--config", tmp_path / "config.yaml",
        "--photo", photos[0], "--photo", photos[1],
    )  # fmt: skip
    assert scene.run(words) == 0
    assert scene.verdict(target, state) == "valid"
    held = scene.contents(target)
    by_time = {round(at * 1000): image for at, image in originals}
    judge_ = Judge(shared, photos)
    for name in [name for name in held if name.endswith(".mp4")]:
        (tmp_path / "got.mp4").write_bytes(held[name])
        with av.open(str(tmp_path / "got.mp4")) as source:
            began = datetime.fromisoformat(source.metadata["date"]).timestamp() - WALL
        for at, image in pictures(tmp_path / "got.mp4"):
            nearest = min(by_time, key=lambda known: abs(known / 1000 - began - at))
            assert abs(nearest / 1000 - began - at) < 0.02
            judge_.look(by_time[nearest], image)
    assert judge_.identified >= seen and judge_.still >= 0.9 * judge_.identified, vars(judge_)
    assert judge_.others >= beside and judge_.matched <= judge_.control, vars(judge_)
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert kinds.index("export begun") < kinds.index("unsealed") < kinds.index("exported")
    plain = b"".join(data for name, data in held.items() if name.endswith(".json"))
    assert b'"subject": true' in plain and b"embedding" not in plain
    kept_files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".step", ".mp4")]
    assert [path.name for path in kept_files] == ["got.mp4"], "neither originals nor work is left"


def test_without_a_photo_or_the_key_nothing_is_opened(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    times = ["--camera", "gate", "--from", label.utc(WALL), "--to", label.utc(WALL + 5)]
    assert scene.run(scene.arguments(tmp_path, "subject", tmp_path / "copy.zip", *times)) == 2
    (tmp_path / "face.png").write_bytes(b"no photograph")
    words = scene.arguments(tmp_path, "subject", tmp_path / "copy.zip", *times, "--photo", tmp_path / "face.png")
    assert scene.run(words) == 2
    assert "unsealed" not in [entry.kind for entry in audit.entries(state.path)]
    assert not (tmp_path / "copy.zip").exists()
