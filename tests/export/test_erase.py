from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from pyrage.x25519 import Identity

from anonymizer.export import command, erase_command, manifest, verify
from anonymizer.export.marks import Mark
from anonymizer.record import audit, holds, keys, label
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir
from tests.conftest import ROOT
from tests.export import clip, scene
from tests.export.scene import WALL
from tests.record.test_vault import sealed


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def arguments(folder: Path, *more: object) -> list[str]:
    words = (
        "erase", "--case", "E-1", "--reason", "Art. 17", "--approver", "A. Officer", "--certificate",
        folder / "erased.json", "--state", folder / "state", *more,
    )  # fmt: skip
    return [str(word) for word in words]


def whole(state: StateDir) -> None:
    """What the catalogue has is on disk as it says, and nothing else is."""
    with Catalogue(state.path) as catalogue:
        files = catalogue.files("segment") + catalogue.files("fragment")
        assert not catalogue.files("segment", deleting=True)
    for file in files:
        assert hashlib.sha256(Path(file.path).read_bytes()).hexdigest() == file.sha256
        if file.kind == "segment":
            with av.open(file.path) as source:
                assert sum(1 for _ in source.decode(video=0)) == file.frames
    folders = {Path(file.path).parent for file in files}
    there = {str(path) for folder in folders for path in folder.iterdir()}
    assert there == {file.path for file in files}
    assert audit.verify(state.path).good


def pictures(state: StateDir) -> dict[int, np.ndarray]:
    """Luma of all that is recorded, by the number of the picture since WALL."""
    found = {}
    with Catalogue(state.path) as catalogue:
        files = catalogue.files("segment", "gate")
    for file in files:
        with av.open(file.path) as source:
            for frame in source.decode(video=0):
                assert frame.time is not None
                found[round((file.start + frame.time - WALL) * 25)] = frame.to_ndarray(format="gray").astype(int)
    return found


def test_a_track_is_covered_where_it_was_and_its_originals_go(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings", seconds=16)
    with Catalogue(state.path) as catalogue:
        for file in sealed(tmp_path / "vault", [str(Identity.generate().to_public())], 400):
            catalogue.add(file)
        original = catalogue.files("segment", "gate")
        assert len(catalogue.files("fragment", "gate")) == 8
    before = pictures(state)
    assert scene.run(arguments(tmp_path, "--track", "gate-1-7")) == 0  # from 1 to 9 s
    whole(state)
    after = pictures(state)
    assert set(after) == set(before) == set(range(400))
    box = slice(40, 72), slice(40, 72)
    for number in (50, 90, 210):  # the square stands in the box
        assert after[number][box].std() < 6 and before[number][box].std() > 20
        outside = np.abs(after[number] - before[number])[100:, 100:]
        assert outside.mean() < 4
    for number in (300, 399):
        assert np.array_equal(after[number], before[number]), "what lies outside is kept bit by bit"
    with Catalogue(state.path) as catalogue:
        kept = catalogue.files("segment", "gate")
        assert {file.path for file in original[3:]} <= {file.path for file in kept}
        assert [round(file.start - WALL) for file in catalogue.files("fragment", "gate")] == [10, 12, 14]
    data = (tmp_path / "erased.json").read_bytes()
    said = json.loads(data)
    assert said["originals"] == 5 and "outside this system" in said["outside"]
    assert [one[1] for one in said["recordings"]] == [file.sha256 for file in original[:3]]
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert kinds[1] == "erasure begun" and kinds[-1] == "erased" and kinds.count("deleted") == 4


def test_who_has_a_certificate_can_check_it(
    tmp_path: Path, state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.recorded(state, tmp_path / "recordings", seconds=16)
    assert scene.run(arguments(tmp_path, "--track", "gate-1-7")) == 0
    path, signature = tmp_path / "erased.json", tmp_path / "erased.json.sig"
    data, signed = path.read_bytes(), signature.read_bytes()
    trust = ["--trust", str(state.path / "signing.pub")]
    capsys.readouterr()
    assert scene.run(["verify", str(path), *trust]) == 0
    assert "(erasure), made 20" in (said := capsys.readouterr().out) and said.rstrip().endswith("is trusted.")
    assert scene.run(["verify", str(path)]) == 7
    key = (state.path / "signing.pub").read_text().strip()
    assert verify.certificate(data, signed, [key]).outcome == "valid"
    for at in range(len(data)):
        assert verify.certificate(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], signed, [key]).outcome == "broken"
    path.write_bytes(data + b" ")
    assert scene.run(["verify", str(path), *trust]) == 1
    path.write_bytes(data)
    signature.unlink()
    assert scene.run(["verify", str(path), *trust]) == 4
    package = scene.arguments(tmp_path, "incident", tmp_path / "p.zip", "--camera", "gate", "--from",
                              label.utc(WALL + 10), "--to", label.utc(WALL + 12))  # fmt: skip
    assert scene.run(package) == 0
    held = scene.contents(tmp_path / "p.zip")
    report = verify.certificate(held[manifest.FILE], held[manifest.SIGNATURE], [])
    assert report.outcome == "broken", "a manifest is no certificate"


def test_a_person_who_is_known_by_photographs_is_covered_and_nobody_else_is(shared: Path, tmp_path: Path) -> None:
    state, photos = StateDir(tmp_path / "state"), clip.photos(shared, tmp_path)
    officer, config = clip.keep(shared, tmp_path, state, 6.29, 8.5), clip.settings(shared, tmp_path)
    before = clip.record(shared, tmp_path, state, 7.0, 9.2)
    words = arguments(
        tmp_path, *[word for photo in photos for word in ("--photo", photo)], "--identity", officer, "--config", config,
        "--camera", "gate", "--from", label.utc(WALL + 7.2), "--to", label.utc(WALL + 8.2),
    )  # fmt: skip
    assert scene.run(words) == 0
    whole(state)
    after = clip.recorded(state)
    assert [round(at, 3) for at, _ in after] == [round(at, 3) for at, _ in before]
    for (at, was), (_, now) in zip(before, after, strict=True):
        if 7.3 <= at < clip.CUT:
            x, y, w, h = clip.face(was)
            middle = slice(y + h // 6, y + h - h // 6), slice(x + w // 6, x + w - w // 6), 1
            assert now[middle].std() < 6 and was[middle].std() > 20, at
        elif at > clip.CUT + 0.6:
            assert np.abs(now.astype(int) - was).mean() < 3, "those who listen are left as they were"
    with Catalogue(state.path) as catalogue:
        assert all(file.stop < WALL + 7.2 or file.start > WALL + 7.9 for file in catalogue.files("fragment"))
    said = json.loads((tmp_path / "erased.json").read_bytes())
    assert said["originals"] >= 2 and "photo" not in json.dumps(said)
    assert any("the same track is the person elsewhere" in text for text in said["in doubt, and not erased"])
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert kinds.index("erasure begun") < kinds.index("unsealed") < kinds.index("deleted")


def test_a_time_is_cut_out(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    before = pictures(state)
    times = ["--camera", "gate", "--from", label.utc(WALL + 4.5), "--to", label.utc(WALL + 5)]
    assert scene.run(arguments(tmp_path, *times)) == 2, "nobody can be covered by a time alone"
    assert scene.run(arguments(tmp_path, *times, "--how", "cut")) == 0
    whole(state)
    after = pictures(state)
    assert set(after) == set(range(300)) - set(range(100, 150))  # the GOP that holds the time
    assert all(np.array_equal(after[number], before[number]) for number in after)


def test_a_legal_hold_refuses_all_of_it(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    before = pictures(state)
    hold = holds.place(state, "gate", WALL + 8.5, WALL + 8.6, "court")
    assert scene.run(arguments(tmp_path, "--track", "gate-1-7")) == 2
    whole(state)
    assert all(np.array_equal(picture, before[number]) for number, picture in pictures(state).items())
    assert not (tmp_path / "erased.json").exists()
    holds.release(state, hold.id)
    assert scene.run(arguments(tmp_path, "--track", "gate-1-7")) == 0
    whole(state)


def test_an_unknown_track_erases_nothing_and_leaves_nothing(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    assert scene.run(arguments(tmp_path, "--track", "gate-1-7", "--track", "gate-1-8")) == 2
    whole(state)
    assert [entry.kind for entry in audit.entries(state.path)] == ["audit begun"] and not list(
        state.path.glob("eras*/*")
    )


def test_a_person_who_is_found_nowhere_leaves_nothing_unfinished(
    tmp_path: Path, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.recorded(state, tmp_path / "recordings")
    (tmp_path / "photo.png").write_bytes(b"a photograph")
    keys.create_officer(tmp_path / "officer", state.path)
    monkeypatch.setattr(command, "knowing", lambda *_: None)
    monkeypatch.setattr(erase_command, "_named", lambda *_: {"gate": []})
    times = ["--camera", "gate", "--from", label.utc(WALL), "--to", label.utc(WALL + 5)]
    person = ["--photo", str(tmp_path / "photo.png"), "--identity", str(tmp_path / "officer")]
    assert scene.run(arguments(tmp_path, *person, *times)) == 2
    assert not list((state.path / "erasures").iterdir()) and not (tmp_path / "erased.json").exists()
    *_, last = audit.entries(state.path)
    assert last.kind == "erasure abandoned" and last.said["case"]


def test_a_box_moves_along_between_two_by_hand() -> None:
    mark = Mark.parse({"what": "cover", "start": 0, "stop": 10, "boxes": [[2, [0, 0, 10, 10]], [4, [20, 40, 10, 30]]]})
    assert mark.box(1) == (0, 0, 10, 10) and mark.box(3) == (10, 20, 10, 20) and mark.box(9) == (20, 40, 10, 30)
    assert mark.box(11) is None


@pytest.mark.parametrize("moments", [pytest.param(5, id="some"), pytest.param(50, id="many", marks=pytest.mark.soak)])
def test_an_erasure_that_is_killed_goes_on(tmp_path: Path, moments: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.killing", "erasing", tmp_path, str(moments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("and went on") == moments, done.stderr


def test_without_a_place_for_the_certificate_nothing_is_erased(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    before = pictures(state)
    words = arguments(tmp_path, "--track", "gate-1-7")
    at = words.index("--certificate") + 1
    (tmp_path / "signed.json.sig").write_text("of another certificate")
    readonly = Path("/proc")  # where even root writes nothing
    for place, code in ((tmp_path / "no" / "c.json", 6), (tmp_path / "signed.json", 2), (readonly / "c.json", 6)):
        words[at] = str(place)
        assert scene.run(words) == code, place
    assert [entry.kind for entry in audit.entries(state.path)] == ["audit begun"]
    assert all(np.array_equal(picture, before[number]) for number, picture in pictures(state).items())
    assert not list(state.path.glob("erasures/*"))
