"""The bank: the same key gives the same people, another key nobody of them, and nobody is anybody's portrait."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.errors import ModelError
from anonymizer.faces import topology
from anonymizer.faces.detectors import load_detector
from anonymizer.frame import U8
from anonymizer.synthesis import bank, preview
from anonymizer.synthesis.bank import PARTS, Bank, FaceModel, Identity, encode, key_of
from anonymizer.synthesis.cosines import EVEN

FILE = Path(__file__).parents[2] / "models" / "face_model.npz"
KEY = bytes(range(32))
PART = st.one_of(st.text(max_size=8), st.binary(max_size=8), st.integers(-(10**9), 10**9))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load(FILE)


@pytest.fixture
def people(model: FaceModel) -> Bank:
    return Bank(model, KEY)


def same(a: Identity, b: Identity) -> bool:
    pictures = all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("texture", "iris", "sclera", "mouth", "shape")
    )
    return a.key == b.key and a.donors == b.donors and pictures


def test_the_file_is_small_and_every_part_has_its_size(model: FaceModel, people: Bank) -> None:
    assert FILE.stat().st_size <= 4_000_000
    assert len(model.luma) >= 100
    someone = people.identity("a")
    assert someone.shape.shape == (200, 3) and someone.shape.dtype == np.float32
    assert someone.texture.shape == (model.side, model.side, 3) and someone.texture.dtype == np.uint8
    assert someone.iris.shape == (32, 32, 3) and someone.sclera.shape == (24, 48, 3)
    assert someone.mouth.shape == (32, 64, 3)
    assert len(someone.donors) == len(PARTS) == 1 + len(model.regions)


def test_the_frame_of_the_shape(model: FaceModel) -> None:
    right, left = model.shape_mean[topology.EYE_RIGHT].mean(0), model.shape_mean[topology.EYE_LEFT].mean(0)
    assert np.allclose(right + left, 0, atol=1e-4)
    assert np.linalg.norm(left - right) == pytest.approx(1, abs=1e-4)
    assert left[0] > 0  # x to the picture's right, where the subject's left is
    chin, nose = topology.points(152)[0], topology.NOSE_TIP
    assert model.shape_mean[chin, 1] > 1  # y down
    assert model.shape_mean[nose, 2] < model.shape_mean[:, 2].mean()  # z away from the camera
    assert np.allclose(model.shape_mean, model.shape_mean[topology.MIRROR] * [-1, 1, 1], atol=1e-4)


def test_the_layout_has_no_folds_and_its_triangles_mirror_each_other(model: FaceModel) -> None:
    assert model.uv.min() > 0.01 and model.uv.max() < 0.99
    for triangles in (model.triangles, model.eye_right, model.eye_left):
        a, b, c = (model.uv[triangles[:, i]] for i in range(3))
        area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert (area > 0).all()
    for triangles, mirror in ((model.triangles, model.triangles), (model.eye_right, model.eye_left)):
        assert {frozenset(t) for t in topology.MIRROR[triangles]} == {frozenset(t) for t in mirror.tolist()}
    assert set(model.eye_right.ravel()) == set(topology.EYE_RIGHT)
    assert set(model.mouth.ravel()) == set(topology.LIPS_INNER)
    covered = np.zeros((400, 400), np.uint8)
    for t in np.concatenate([model.triangles, model.eye_right, model.eye_left, model.mouth]):
        cv2.fillConvexPoly(covered, np.rint(model.uv[t] * 400).astype(np.int32), 1)
    oval = np.zeros_like(covered)
    cv2.fillPoly(oval, [np.rint(model.uv[topology.OVAL] * 400).astype(np.int32)], 1)
    assert (covered == oval).mean() > 0.998


def test_the_same_key_gives_the_same_people(model: FaceModel, people: Bank) -> None:
    again = Bank(model, KEY, cache=1)
    for scope in (bank.track("door", 3, 17), bank.camera("door", 20_001), bank.enrolled("b7", 4)):
        first = people.identity(*scope)
        again.identity("somebody in between")
        assert same(first, again.identity(*scope))


def test_people_stay_the_same_over_releases(people: Bank) -> None:
    """A change of the digests, the draws or the list gives everybody a new face: it must be meant, and said."""
    person = people.identity(*bank.track("door", 3, 17))
    assert person.key == key_of(1857)
    assert np.allclose(person.coefficients[:4], [-0.1282, 0.5526, 0.3067, 0.9416], atol=1e-3)


def test_complexions_are_even_across_the_face_and_everybodys_own(model: FaceModel) -> None:
    drawn = np.array([bank.sample(model, key_of(int(number))).complexion for number in model.people[:400]])
    assert np.array_equal(drawn[:, ~EVEN], np.zeros_like(drawn[:, ~EVEN]))
    assert set(drawn[:, 0]) == {-1, 1} and abs(drawn[:, 0].mean()) < 0.2
    own = drawn[:, EVEN][:, 1:]
    assert own.shape[1] >= 4 and np.abs(own).max() <= bank.LIMIT
    assert np.abs(own.mean(0)).max() < 0.2 and own.std(0) == pytest.approx(0.96, abs=0.12)
    assert np.abs(np.corrcoef(own.T) - np.eye(own.shape[1])).max() < 0.2  # four standard deviations


def test_only_listed_people_are_drawn_and_all_of_them_alike(model: FaceModel, people: Bank) -> None:
    listed = {key_of(int(number)) for number in model.people}
    assert len(listed) >= 1000
    drawn = [people._drawn(("track", "a", 1, number)) for number in range(8 * len(listed))]
    often = np.unique(np.array(drawn, object), return_counts=True)[1]
    assert set(drawn) <= listed
    assert len(often) > 0.99 * len(listed)  # eight draws each: one in three thousand is missed
    assert often.var() == pytest.approx(often.mean(), rel=0.2)  # as even as chance, and no evener


def test_every_donor_of_cheeks_has_its_share_of_the_people(model: FaceModel) -> None:
    """Nobody's sex or age is known; donors of every kind keep the share they have in the model."""
    n = len(model.luma)
    cheeks = [bank.donors_of(model, key_of(int(number)))[0] % n for number in model.people]
    had = np.bincount(cheeks, minlength=n)
    assert had.max() <= -(-len(model.people) // n) + 1
    assert had.min() >= len(model.people) / n / 2


def test_after_a_rotation_nobody_can_be_linked(model: FaceModel, people: Bank) -> None:
    rotated = Bank(model, hashlib.sha256(KEY).digest())
    places = {key_of(int(number)): place for place, number in enumerate(model.people)}
    scopes = [bank.enrolled(f"member {i}", 1) for i in range(4000)]
    old, new = (np.array([places[one._drawn(scope)] for scope in scopes]) for one in (people, rotated))
    # Somebody keeps a face no more often than chance has it (1 in 2,048), however the key was changed.
    assert (old == new).sum() < 4000 / len(model.people) + 8
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.065  # four standard deviations


def test_scopes_say_who_shares_a_face(people: Bank) -> None:
    keys = {
        people.digest(*scope)
        for scope in (
            bank.track("a", 1, 1),
            bank.track("a", 1, 2),
            bank.track("a", 2, 1),
            bank.track("b", 1, 1),
            bank.camera("a", 1),
            bank.camera("a", 2),
            bank.enrolled("a", 1),
            bank.enrolled("a", 2),
        )
    }
    assert len(keys) == 8


@given(st.lists(PART, max_size=4), st.lists(PART, max_size=4))
def test_different_scopes_never_encode_alike(a: list[bank.Part], b: list[bank.Part]) -> None:
    alike_in_type = len(a) == len(b) and all(type(x) is type(y) and x == y for x, y in zip(a, b, strict=True))
    assert (encode(a) == encode(b)) == alike_in_type


def test_the_numbers_are_even_and_normal() -> None:
    draws = [bank._Draw(bytes([i])) for i in range(100)]
    numbers = np.array([draw.integer(7) for draw in draws for _ in range(100)])
    assert set(numbers) == set(range(7))
    assert np.bincount(numbers).std() < 80
    normal = np.array([draw.normal() for draw in draws for _ in range(100)])
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.03


def few(model: FaceModel, count: int) -> Bank:
    """A bank of so few people that they collide."""
    return Bank(dataclasses.replace(model, people=model.people[:count]), KEY)


def test_two_faces_in_view_are_never_the_same(model: FaceModel) -> None:
    crowd = few(model, 12)
    in_view: list[bytes] = []
    redrawn = 0
    for number in range(12):
        scope = bank.track("crowd", 1, number)
        chosen = crowd.distinct(*scope, beside=in_view)
        redrawn += chosen is not crowd.identity(*scope)
        in_view.append(chosen.key)
    assert len(set(in_view)) == 12 and redrawn > 0
    again = crowd.distinct(*bank.track("crowd", 1, 11), beside=in_view[:11])
    assert again.key == in_view[11]
    # One more than there are people: its own face, rather than none.
    one_more = bank.track("crowd", 1, 12)
    assert crowd.distinct(*one_more, beside=in_view) is crowd.identity(*one_more)


def test_the_same_person_twice_in_view_is_drawn_anew(people: Bank) -> None:
    someone = people.identity(*bank.track("a", 1, 1))
    other = people.distinct(*bank.track("a", 1, 1), beside=[someone.key])
    assert other.key != someone.key


def test_skin_is_evenly_lit(people: Bank) -> None:
    """Left and right, seen at the lowest frequencies, are as bright as each other in every person."""
    for number in range(40):
        luma = cv2.cvtColor(people.identity("light", number).texture, cv2.COLOR_BGR2GRAY).astype(np.float32)
        soft = cv2.GaussianBlur(luma, (0, 0), 14)[30:130, 30:130]
        assert np.abs(soft - soft[:, ::-1]).max() < 12
        assert 110 < soft.mean() < 180


def test_the_key_is_long_enough_and_never_printed(model: FaceModel) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Bank(model, b"short")
    shown = repr(Bank(model, KEY)) + str(Bank(model, KEY))
    assert KEY.hex() not in shown and repr(KEY) not in shown


@pytest.mark.parametrize("damage", ["missing", "cut", "without uv", "wrong shape", "nobody", "twice"])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "face_model.npz"
    if damage == "cut":
        path.write_bytes(FILE.read_bytes()[:100_000])
    elif damage != "missing":
        arrays = dict(np.load(FILE))
        if damage == "without uv":
            del arrays["uv"]
        elif damage in ("nobody", "twice"):
            arrays["people"] = np.array([3, 3] if damage == "twice" else [], np.int32)
        else:
            arrays["shape_mean"] = arrays["shape_mean"][:100]
        np.savez(path, **arrays)
    with pytest.raises(ModelError, match="face_model"):
        FaceModel.load(path)


OMZ = 128 * np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)


class _Omz:
    """Embeddings of aligned faces."""

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, bgr: U8, points: np.ndarray) -> np.ndarray:
        matrix, _ = cv2.estimateAffinePartial2D(np.asarray(points, np.float32), OMZ, method=cv2.LMEDS)
        crop = cv2.warpAffine(bgr, matrix, (128, 128)).astype(np.float32)
        vector = self.session.run(None, {self.session.get_inputs()[0].name: crop.transpose(2, 0, 1)[None]})[0].ravel()
        return np.asarray(vector / np.linalg.norm(vector))


def nearest(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    similarity = a @ (a if b is None else b).T
    if b is None:
        np.fill_diagonal(similarity, -1)
    return np.asarray(similarity.max(1))


def test_nobody_is_near_a_portrait_or_near_somebody_else(model: FaceModel, shared: Path) -> None:
    """A sample of both; models/training/identities/score.py compares all people with all portraits."""
    recognise = _Omz(shared / "models" / "omz_face-reidentification-retail-0095.onnx")
    detector = load_detector(shared / "models" / "yunet_n_dynamic.onnx")
    view = preview.View()
    drawn, portraits = [], []
    for number in model.people[:: len(model.people) // 40]:
        person = bank.sample(model, key_of(int(number)))
        points = topology.five_points(preview.placed(person, view, 224)[None])[0]
        drawn.append(recognise(preview.picture(model, person, view, 224), points))
    for file in sorted((shared / "faces").glob("*.jpg"))[::10]:
        picture = np.asarray(cv2.imread(str(file)), np.uint8)
        (found,) = detector.detect([picture], 0.6)
        if len(found):
            portraits.append(recognise(picture, found.points[found.scores.argmax()]))
    assert len(portraits) > 200
    bar = float(np.percentile(nearest(np.array(portraits)), 95))
    assert nearest(np.array(drawn), np.array(portraits)).max() < bar
    assert nearest(np.array(drawn)).max() < bar
