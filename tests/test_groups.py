"""Enrolled people: sealed at rest, expiring, revocable; and who is kept when two of them cross."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer import assembly, cli, registry
from anonymizer.config import Config, FacesSettings
from anonymizer.enrolment import Enrolment
from anonymizer.errors import ConfigError
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import U8, Frame
from anonymizer.groups import Gallery, Member
from anonymizer.ingest.picture import Picture
from anonymizer.policy import Policy, load
from anonymizer.recognition import Recognition
from anonymizer.record import audit
from anonymizer.statedir import StateDir
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.preview import View, picture

TOMORROW = datetime.now(UTC).date() + timedelta(days=1)


def member(
    name: str = "anna", *embeddings: tuple[float, ...], expires: date = TOMORROW, group: str = "staff"
) -> Member:
    return Member(name, group, "file 7", expires, "SFace", embeddings or ((1.0, 0.0, 0.0),))


def test_members_are_sealed_at_rest(tmp_path: Path) -> None:
    enrolment = Enrolment(StateDir(tmp_path))
    enrolment.enroll(member())
    assert enrolment.members() == [member()]
    assert all(b"anna" not in path.read_bytes() for path in tmp_path.iterdir())
    sealed = tmp_path / "enrolled.sealed"
    data = bytearray(sealed.read_bytes())
    data[20] ^= 1
    sealed.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="altered"):
        enrolment.members()


def test_consent_and_a_day_to_come_are_required(tmp_path: Path) -> None:
    enrolment = Enrolment(StateDir(tmp_path))
    with pytest.raises(ConfigError, match="consent"):
        enrolment.enroll(Member("anna", "staff", " ", TOMORROW, "SFace", ((1.0,),)))
    with pytest.raises(ConfigError, match="passed"):
        enrolment.enroll(member(expires=date(2020, 1, 1)))
    assert not enrolment.members()


def test_revoking_deletes(tmp_path: Path) -> None:
    enrolment = Enrolment(StateDir(tmp_path))
    enrolment.enroll(member())
    enrolment.enroll(member("bert"))
    enrolment.revoke("anna")
    assert [one.name for one in enrolment.members()] == ["bert"]
    with pytest.raises(ConfigError, match="anna"):
        enrolment.revoke("anna")


def test_the_best_and_the_next_person_are_told() -> None:
    gallery = Gallery([member("anna", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), member("bert", (0.0, 0.8, 0.6))])
    found = gallery.match(np.array([0, 1, 0], np.float32), 3.0, time.time())
    assert (found.member, found.groups, found.similarity, found.time) == ("anna", {"staff"}, 1.0, 3.0)
    assert found.second == pytest.approx(0.8)


def test_expired_means_unknown() -> None:
    gallery = Gallery([member("anna", (1.0, 0.0, 0.0), expires=date(2026, 1, 1))])
    before, after = (datetime(2026, 1, day, 12, tzinfo=UTC).timestamp() for day in (1, 2))
    assert gallery.match(np.array([1, 0, 0], np.float32), 0.0, before).member == "anna"
    assert gallery.match(np.array([1, 0, 0], np.float32), 0.0, after).member == ""


def test_nobody_is_recognised_where_no_rule_asks() -> None:
    """No model is read, so no embedding can be computed."""
    faces = FacesSettings(recogniser="/nonexistent.onnx")
    assert assembly.recognition(faces, load("default: replace", "x"), [member()]) is None


# Two people cross


class Scene:
    """Two people who do not exist walk past each other before a textured wall; one of them is enrolled."""

    size = 640, 360
    head = 150
    count = 150

    def __init__(self, model: FaceModel, seed: int) -> None:
        bank = Bank(model, b"scene" + seed.to_bytes(11, "big"))
        first = bank.identity("enrolled")
        self.people = [first, bank.distinct("other", beside=[first.key])]
        rng = np.random.default_rng(seed)
        self.wall = cv2.resize(rng.integers(70, 120, (45, 80, 3)).astype(np.uint8), self.size)
        self.heads = [self._heads(model, person) for person in self.people]
        self.front = int(rng.integers(2))

    def _heads(self, model: FaceModel, person: object) -> list[U8]:
        return [picture(model, person, View(yaw=yaw), self.head) for yaw in (-10, -4, 4, 10)]  # type: ignore[arg-type]

    def place(self, who: int, index: int) -> int:
        """Left edge of a head."""
        x = 20 + index * 4
        return round(x if who == 0 else self.size[0] - self.head - x)

    def draw(self, index: int) -> U8:
        canvas = self.wall.copy()
        for who in sorted((0, 1), key=lambda w: w == self.front):
            x = max(0, min(self.size[0] - self.head, self.place(who, index)))
            drawn = self.heads[who][(index // 8) % 4]
            solid = (np.abs(drawn.astype(np.int16) - (196, 192, 188)).max(2) > 14)[..., None]
            region = canvas[100 : 100 + self.head, x : x + self.head]
            region[:] = np.where(solid, drawn, region)
        return canvas

    def alone(self, index: int) -> bool:
        return abs(self.place(0, index) - self.place(1, index)) > 1.4 * self.head

    def frames(self) -> list[Frame]:
        out = []
        for index in range(self.count):
            coded = av.VideoFrame.from_ndarray(np.ascontiguousarray(self.draw(index)), "bgr24").reformat(
                format="yuv420p"
            )
            drawn = Picture(coded)
            at = 1.8e9 + index / 25
            out.append(Frame(index, index, index / 25, drawn.planes(), picture=drawn, wall=at))
        return out


def crossings(shared: Path, seeds: range) -> tuple[int, int, int]:
    """(frames in which the enrolled one is alone after the first second, of these kept, frames with the other kept)."""
    model = FaceModel.load(registry.resolve("face-model", "auto"))
    recogniser = Recogniser(shared / "models" / "omz_face-reidentification-retail-0095.onnx")
    rules = load(
        "default: solid\nrules:\n  - {name: staff, when: {group: staff}, then: keep}\n"
        "recognition: {enter: 0.62, leave: 0.5, lead: 0.0}\n",
        "x",
    )
    alone = kept = others = 0
    for seed in seeds:
        scene = Scene(model, seed)
        policy = Policy(rules, "gate")
        stages = assembly.pipeline(Config(), policy, camera="gate")
        finder = assembly.detectors(FacesSettings())[0]
        photographs = [picture(model, scene.people[0], View(yaw=yaw), 256) for yaw in (-8, 0, 8)]
        embeddings = []
        for photograph in photographs:
            (found,) = finder.detect([photograph], 0.3)
            coded = av.VideoFrame.from_ndarray(photograph, "bgr24").reformat(format="yuv420p")
            embedding = recogniser.embed(Picture(coded).planes(), found.points[0])
            assert embedding is not None
            embeddings.append(tuple(map(float, embedding)))
        expires = datetime(2030, 1, 1, tzinfo=UTC).date() + timedelta(days=36500)
        known = Member("anna", "staff", "file 7", expires, recogniser.name, tuple(embeddings))
        stages.recognition = Recognition(recogniser, Gallery([known]))
        done = []
        for frame in scene.frames():
            done += stages.push(frame)
        for frame in done + stages.flush():
            for face in frame.faces:
                middle = face.box[0] + face.box[2] / 2
                distance = [abs(middle - scene.place(who, frame.index) - scene.head / 2) for who in (0, 1)]
                if face.method == "keep" and distance[1] < distance[0]:
                    others += 1
                if scene.alone(frame.index) and distance[0] < 30 and frame.index > 12:
                    alone += 1
                    kept += face.method == "keep"
    return alone, kept, others


def test_who_is_enrolled_is_kept_and_who_crosses_is_not(shared: Path) -> None:
    alone, kept, others = crossings(shared, range(2))
    assert others == 0
    assert alone > 20 and kept >= 0.9 * alone, (alone, kept)


@pytest.mark.soak
def test_twenty_crossings(shared: Path) -> None:
    alone, kept, others = crossings(shared, range(20))
    assert others == 0
    assert kept >= 0.9 * alone, (alone, kept)


def test_enrolling_and_revoking_from_the_command_line(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = FaceModel.load(registry.resolve("face-model", "auto"))
    photo = tmp_path / "anna.png"
    canvas = cv2.copyMakeBorder(
        picture(model, Bank(model, bytes(16)).identity("anna"), View(), 256), 100, 100, 100, 100, cv2.BORDER_REPLICATE
    )
    cv2.imwrite(str(photo), canvas)
    recogniser = shared / "models" / "omz_face-reidentification-retail-0095.onnx"
    state = ["--state", str(tmp_path / "state")]
    enroll = ["enroll", "anna", str(photo), "--group", "staff", "--consent", "file 7", "--recogniser", str(recogniser)]
    assert cli.main([*enroll, "--expires", str(TOMORROW), *state]) == 0
    assert cli.main(["enrolled", *state]) == 0
    assert "anna\tstaff" in capsys.readouterr().out
    assert cli.main(["revoke", "anna", *state]) == 0
    assert cli.main(["revoke", "anna", *state]) == 2
    kinds = [entry.kind for entry in audit.entries(tmp_path / "state")]
    assert kinds.count("enrolled") == kinds.count("enrolment revoked") == 1
