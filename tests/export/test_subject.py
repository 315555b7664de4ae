from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer.assembly import detectors
from anonymizer.config import FacesSettings
from anonymizer.export import drawing
from anonymizer.export.evidence import Bounds, Look, Verdict, judge, kept
from anonymizer.faces.recogniser import Recogniser
from anonymizer.record import audit, keys, label
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir
from tests.conftest import ROOT
from tests.export import clip, scene
from tests.export.scene import WALL

BOUNDS = Bounds()
KEY = b"anonymizer"
"""From which the bank's key is made in every run; not chosen."""


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


def _asked(shared: Path, folder: Path, state: StateDir, target: Path, start: float, stop: float) -> list[str]:
    """The order of a copy out of a vault that holds this time, from the key frame before."""
    key = max(at for at in (0.0, 6.29) if at <= start)
    officer, config = clip.keep(shared, folder, state, key, stop), clip.settings(shared, folder)
    times = ["--from", label.utc(WALL + start), "--to", label.utc(WALL + stop)]
    return scene.arguments(
        folder, "subject", target, "--camera", "gate", *times, "--identity", officer, "--config", config
    )


def _pairs(shared: Path, folder: Path, held: dict[str, bytes]) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Every picture of a package beside the one it was made of: (seconds in the clip, original, exported)."""
    originals: dict[int, np.ndarray] = {}
    for name in [name for name in held if name.endswith(".mp4")]:
        (folder / "got.mp4").write_bytes(held[name])
        with av.open(str(folder / "got.mp4")) as source:
            began = datetime.fromisoformat(source.metadata["date"]).timestamp() - WALL
            assert source.duration is not None
            lasts = source.duration / av.time_base
        near = clip.pictures(clip.path(shared), began - 0.1, began + lasts + 0.1)
        originals |= {round(at * 1000): image for at, image in near}
        for at, image in clip.pictures(folder / "got.mp4"):
            nearest = min(originals, key=lambda known: abs(known / 1000 - began - at))
            assert abs(nearest / 1000 - began - at) < 0.02
            yield nearest / 1000, originals[nearest], image


@pytest.mark.parametrize(
    ("start", "stop", "seen", "beside"),
    [
        pytest.param(6.9, 8.4, 10, 30, id="a cut to other people"),
        pytest.param(0.0, 60.0, 140, 300, id="whole clip", marks=pytest.mark.soak),
    ],
)
def test_the_person_who_asks_stays_and_everybody_else_goes(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: float, stop: float, seen: int, beside: int
) -> None:
    # How often a new face is like an old one differs by key; a sample as small as this one would fail now and then.
    monkeypatch.setattr(drawing, "bank_key", lambda: hashlib.sha256(KEY).digest())
    state, photos = StateDir(tmp_path / "state"), clip.photos(shared, tmp_path)
    target = tmp_path / "copy.zip"
    words = _asked(shared, tmp_path, state, target, start, stop)
    words += [word for photo in photos for word in ("--photo", str(photo))]
    assert scene.run(words) == 0
    assert scene.verdict(target, state) == "valid"
    held = scene.contents(target)
    judge_ = Judge(shared, photos)
    for _, original, exported in _pairs(shared, tmp_path, held):
        judge_.look(original, exported)
    assert judge_.identified >= seen and judge_.still >= 0.9 * judge_.identified, vars(judge_)
    assert judge_.others >= beside and judge_.matched <= judge_.control, vars(judge_)
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert kinds.index("export begun") < kinds.index("unsealed") < kinds.index("exported")
    plain = b"".join(data for name, data in held.items() if name.endswith(".json"))
    assert b'"subject": true' in plain and b"embedding" not in plain
    kept_files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".step", ".mp4")]
    assert [path.name for path in kept_files] == ["got.mp4"], "neither originals nor work is left"


def test_the_person_may_be_shown_by_a_track_of_the_anonymised_stream(shared: Path, tmp_path: Path) -> None:
    state, target = StateDir(tmp_path / "state"), tmp_path / "copy.zip"
    words = _asked(shared, tmp_path, state, target, 7.5, 8.4)
    with Catalogue(state.path) as catalogue:
        for kind, at in (("new", 6.6), ("update", 7.1), ("end", 7.6)):
            ((_, picture),) = clip.pictures(clip.path(shared), at, at + 1 / 30)
            event = scene.track_event(kind, "gate", WALL + at)
            event["after"] |= {"start_time": WALL + 6.6, "box": list(clip.face(picture))}
            catalogue.take_event(event)
    assert scene.run([*words, "--track", "gate-2-1"]) == 2, "there is none of that name"
    assert not (state.path / audit.FILE).exists() and not list(state.path.glob("exports/*")), "so nothing was opened"
    assert scene.run([*words, "--track", "gate-1-7"]) == 0
    assert scene.verdict(target, state) == "valid"
    judge_, beside = Judge(shared, clip.photos(shared, tmp_path)), 0
    for number, (at, original, exported) in enumerate(_pairs(shared, tmp_path, scene.contents(target))):
        if at < clip.CUT:
            if number % 4 == 0:
                judge_.look(original, exported)
        else:
            x, y, w, h = clip.face(original)
            beside += 1
            assert np.abs(original[y : y + h, x : x + w].astype(int) - exported[y : y + h, x : x + w]).mean() > 12, at
    assert judge_.identified >= 10 and judge_.still >= 0.9 * judge_.identified and beside >= 10, vars(judge_)
    opened = [entry.said for entry in audit.entries(state.path) if entry.kind == "unsealed"]
    assert len(opened) == 2 and all(said["reason"] == "a theft in the yard" for said in opened), "to know, and to show"


@pytest.mark.soak
def test_a_copy_that_is_killed_goes_on(shared: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.killing", "copying", tmp_path, "12"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("and went on") == 12, done.stderr


def test_without_a_photo_or_the_key_nothing_is_opened(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    times = ["--camera", "gate", "--from", label.utc(WALL), "--to", label.utc(WALL + 5)]
    assert scene.run(scene.arguments(tmp_path, "subject", tmp_path / "copy.zip", *times)) == 2
    assert not (state.path / audit.FILE).exists() and not list(state.path.glob("exports/*"))


def test_photographs_that_show_nobody_open_nothing(shared: Path, tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    words = _asked(shared, tmp_path, state, tmp_path / "copy.zip", 7.0, 7.1)
    (tmp_path / "text.png").write_bytes(b"no photograph")
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    for photo, code in (("text.png", 4), ("wall.png", 2)):
        assert scene.run([*words, "--photo", str(tmp_path / photo)]) == code
    assert not (state.path / audit.FILE).exists() and not list(state.path.glob("exports/*"))


def test_what_cannot_be_done_is_told_before_the_order_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZER_MODELS", str(tmp_path / "none"))  # no recogniser
    state = StateDir(tmp_path / "state")
    scene.recorded(state, tmp_path / "recordings")
    keys.create_officer(tmp_path / "officer", state.path)
    times = ["--camera", "gate", "--from", label.utc(WALL), "--to", label.utc(WALL + 5)]
    words = scene.arguments(tmp_path, "subject", tmp_path / "copy.zip", *times)
    officer = ["--identity", str(tmp_path / "officer")]
    for more, code in (
        (["--track", "gate-1-7", *officer], 5),
        (["--photo", str(tmp_path / "nope.jpg"), *officer], 5),
        (["--track", "gate-1-7", "--identity", str(tmp_path / "nope")], 2),
        (["--track", "gate-1-7"], 2),
    ):
        assert scene.run([*words, *more]) == code, more
    assert [entry.kind for entry in audit.entries(state.path)] == ["audit begun"]
    assert not list(state.path.glob("exports/*"))
