"""The bank of people who do not exist.

A face model (``models/face_model.npz``) holds a mean shape, its modes of variation, and patches of skin whose light has
been taken out. A person is put together from it: a shape of their own, the cheeks of one donor, and the forehead, eyes,
brows, nose and mouth of others, a little bent, so that every part looks real and nobody is shown whole. The model lists
the people that were compared with each other and with all portraits, and found to be strangers. Which of them is drawn
follows from a keyed hash alone: nothing about the person in the picture has a say.

Pure: keys and names come in as arguments; only ``FaceModel.load`` reads a file.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.errors import ModelError
from anonymizer.faces import topology
from anonymizer.frame import F32, U8
from anonymizer.synthesis.cosines import EVEN
from anonymizer.synthesis.sampling import to_bytes

I32 = NDArray[np.int32]
Part = str | bytes | int

PARTS = ("skin", "forehead", "eyes", "brows", "nose", "mouth")
"""What donors give, in the order of ``Identity.donors``; a later part lies over the earlier ones."""


@dataclass(frozen=True)
class FaceModel:
    """Shape, texture layout and patches from which people are put together.

    shape_mean: float32 (200, 3), ``faces.topology``'s order; unit the distance between the eye centres, origin midway
    between them; x right in the picture, y down, z away from the camera. shape_modes: float32 (k, 200, 3), one
    standard deviation each. uv: float32 (200, 2), places in the texture as fractions of its side. triangles: int32 (t,
    3) skin; eye_right, eye_left, mouth: int32 (t, 3) the openings. luma: uint8 (n, s, s) and chroma: int8 (n, c, c, 2)
    (Cr and Cb less 128, OpenCV's YCrCb) of the n donors. regions: uint8 (5, r, r), where the other ``PARTS`` replace
    the skin. kin: int32 (n, m), for each donor those whose parts go with its own. slack: uint8 (r, r), how
    far the texture may be bent. iris: uint8 (i, 32, 32, 3), sclera: uint8 (24, 48, 3), mouths: uint8 (j, 32, 64, 3),
    BGR. people: int32 (m,), the numbers (``key_of``) of the people that may be drawn.
    """

    shape_mean: F32
    shape_modes: F32
    uv: F32
    triangles: I32
    eye_right: I32
    eye_left: I32
    mouth: I32
    luma: U8
    chroma: NDArray[np.int8]
    regions: U8
    slack: U8
    kin: I32
    iris: U8
    sclera: U8
    mouths: U8
    people: I32

    @property
    def side(self) -> int:
        return int(self.luma.shape[1])

    @cached_property
    def masks(self) -> list[tuple[F32, F32]]:
        """``regions`` as shares 0–1, float32 (s, s) for luma and (c, c, 1) for chroma each."""
        side, coarse = (self.side, self.side), self.chroma.shape[1:3]
        fine = [cv2.resize(one, side, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255 for one in self.regions]
        return [(mask, cv2.resize(mask, coarse, interpolation=cv2.INTER_AREA)[..., None]) for mask in fine]

    @cached_property
    def bend(self) -> F32:
        """``slack`` as float32 (s, s, 1): texels by which one standard deviation bends the texture."""
        free = cv2.resize(self.slack, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        return free.astype(np.float32)[..., None] * np.float32(BEND / 255)

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Read the file. ModelError if it is missing or does not hold what it should."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as z:
                model = cls(
                    shape_mean=z["shape_mean"].astype(np.float32),
                    shape_modes=z["shape_modes"].astype(np.float32),
                    uv=z["uv"].astype(np.float32),
                    triangles=z["triangles"].astype(np.int32),
                    eye_right=z["eye_right_triangles"].astype(np.int32),
                    eye_left=z["eye_left_triangles"].astype(np.int32),
                    mouth=z["mouth_triangles"].astype(np.int32),
                    luma=z["luma"],
                    chroma=z["chroma"],
                    regions=z["regions"],
                    slack=z["slack"],
                    kin=z["kin"].astype(np.int32),
                    iris=z["iris"],
                    sclera=z["sclera"],
                    mouths=z["mouths"],
                    people=z["people"].astype(np.int32),
                )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ModelError(f"face model {path}: {error}; run `anonymizer models verify`") from error
        n, points = len(model.luma), topology.COUNT
        shapes = {
            "shape_mean": (model.shape_mean.shape, (points, 3)),
            "shape_modes": (model.shape_modes.shape[1:], (points, 3)),
            "uv": (model.uv.shape, (points, 2)),
            "luma": (model.luma.shape, (n, model.side, model.side)),
            "chroma": (model.chroma.shape, (n, model.chroma.shape[1], model.chroma.shape[1], 2)),
            "regions": (model.regions.shape[:1], (len(PARTS) - 1,)),
            "slack": (model.slack.shape, model.regions.shape[1:]),
            "kin": (model.kin.shape[:1], (n,)),
            "people": (model.people.shape, (model.people.size,)),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ModelError(f"face model {path}: {name} is {found} where {expected} was expected")
        if len(np.unique(model.people)) != model.people.size or not model.people.size:
            raise ModelError(f"face model {path}: it lists nobody, or somebody twice; run `anonymizer models verify`")
        return model


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A person who does not exist.

    key: the seed that made it; it is no secret. shape: float32 (200, 3), in the frame of ``FaceModel.shape_mean``.
    texture: uint8 (s, s, 3) BGR in the layout of ``FaceModel.uv``, evenly lit, eye openings filled with lid, lips shut
    (the line between them included, so that a shut mouth may be painted from the texture alone). iris: uint8 (32, 32,
    3) BGR, pupil and iris fill the disc of radius 16, the rim goes on outside. sclera: uint8 (24, 48, 3) BGR, the
    opening of the right eye without its iris, outer corner left, lids at top and bottom; mirror it for the left eye.
    mouth: uint8 (32, 64, 3) BGR, the inside of a mouth open by half its width: corners left and right, upper lip at
    the top; a less open mouth shows its upper part. donors: see ``PARTS``; from n on the donors mirrored.
    coefficients: float32 (k,) of the shape modes. complexion: float32 (c,) of ``cosines.basis``: where the skin is
    lighter and darker than the original's; the first, all over, is -1 or 1; the others are normal numbers, 0 for
    functions that differ from side to side.
    """

    key: bytes
    shape: F32
    texture: U8
    iris: U8
    sclera: U8
    mouth: U8
    donors: tuple[int, ...]
    coefficients: F32
    complexion: F32


_NORMAL = NormalDist()


class _Draw:
    """Numbers from a digest, the same on every machine and with every version of NumPy: SHAKE-256 as a stream."""

    def __init__(self, seed: bytes):
        words = np.frombuffer(hashlib.shake_256(seed).digest(4 * 256), "<u4")
        self._words: Iterator[int] = iter(words.tolist())

    def uniform(self) -> float:
        return (next(self._words) + 0.5) / 2**32

    def integer(self, below: int) -> int:
        return next(self._words) * below >> 32

    def normal(self) -> float:
        return _NORMAL.inv_cdf(self.uniform())


def encode(parts: Iterable[Part]) -> bytes:
    """Parts as one byte string that no other parts give: kind and length before each."""
    out = bytearray()
    for part in parts:
        kind, data = (
            (b"b", part) if isinstance(part, bytes) else (b"i" if isinstance(part, int) else b"s", str(part).encode())
        )
        out += kind + len(data).to_bytes(8, "big") + data
    return bytes(out)


def track(camera: str, epoch: int, track_id: int) -> tuple[Part, ...]:
    """Scope of one track: a new face each time somebody comes into view."""
    return "track", camera, epoch, track_id


def camera(name: str, period: int) -> tuple[Part, ...]:
    """Scope of a camera: everybody on it shares one face for a rotation period, so that nobody can be followed."""
    return "camera", name, period


def enrolled(member: str, period: int) -> tuple[Part, ...]:
    """Scope of a member of a group: one pseudonymous face for a rotation period, on all cameras."""
    return "enrolled", member, period


LIMIT = 2.0
"""A person's numbers stay within so many standard deviations."""


def key_of(number: int) -> bytes:
    """The seed of person number so and so."""
    return hashlib.sha256(encode(("person", number))).digest()


def donors_of(model: FaceModel, key: bytes) -> tuple[int, ...]:
    """``Identity.donors`` of the person that a seed stands for, without drawing them."""
    return _donors(model, _Draw(key))


def _donors(model: FaceModel, draw: _Draw) -> tuple[int, ...]:
    n = len(model.luma)
    skin = draw.integer(n)
    kin = [int(k) for k in model.kin[skin]]
    parts = [skin, *(kin.pop(draw.integer(len(kin))) for _ in PARTS[1:])]
    return tuple(part + n * draw.integer(2) for part in parts)


def sample(model: FaceModel, key: bytes) -> Identity:
    """The person that a seed stands for."""
    draw = _Draw(key)
    donors = _donors(model, draw)
    coefficients = _normals(draw, len(model.shape_modes))
    shape = model.shape_mean + np.tensordot(coefficients, model.shape_modes, 1)
    return Identity(
        key=key,
        shape=np.asarray(shape, np.float32),
        texture=_bent(model, _assemble(model, donors), draw),
        iris=model.iris[draw.integer(len(model.iris))],
        sclera=model.sclera,
        mouth=model.mouths[draw.integer(len(model.mouths))],
        donors=donors,
        coefficients=coefficients,
        complexion=_complexion(key, draw),
    )


def _normals(draw: _Draw, count: int) -> F32:
    return np.clip([draw.normal() for _ in range(count)], -LIMIT, LIMIT).astype(np.float32)


def _complexion(key: bytes, draw: _Draw) -> F32:
    numbers = np.zeros(len(EVEN), np.float32)
    numbers[EVEN] = 1 if key[0] & 1 else -1, *_normals(draw, int(EVEN.sum()) - 1)
    return numbers


def _donor(model: FaceModel, donor: int) -> tuple[F32, F32]:
    """Luma (s, s) and chroma (c, c, 2) of a donor, from n on mirrored."""
    mirrored, index = divmod(donor, len(model.luma))
    step = -1 if mirrored else 1
    return model.luma[index][:, ::step].astype(np.float32), model.chroma[index][:, ::step].astype(np.float32)


def _assemble(model: FaceModel, donors: tuple[int, ...]) -> U8:
    """The first donor's skin, the others' parts blended in. All have the same low frequencies, so no seam shows."""
    luma, chroma = _donor(model, donors[0])
    for (mask, small), donor in zip(model.masks, donors[1:], strict=True):
        other = _donor(model, donor)
        luma += mask * (other[0] - luma)
        chroma += small * (other[1] - chroma)
    colour = cv2.resize(chroma + 128, (model.side, model.side), interpolation=cv2.INTER_CUBIC)
    ycc = to_bytes(np.asarray(cv2.merge([luma, colour]), np.float32))
    return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2BGR), np.uint8)


BEND_NODES = 6
BEND, SKEW = 2.1, 0.4
"""Standard deviation in texels (a 62nd of the eye distance) by which a person's texture is bent, on a grid of nodes,
and how much of its one-sided part is left: faces are nearly symmetric."""


def _bent(model: FaceModel, texture: U8, draw: _Draw) -> U8:
    """The texture, its features moved a little and smoothly; lids and lips stay where the layout has them."""
    side = (model.side, model.side)
    drawn = np.array([draw.normal() for _ in range(2 * BEND_NODES**2)]).reshape(BEND_NODES, BEND_NODES, 2)
    mirrored = drawn[:, ::-1] * [-1, 1]
    nodes = (((1 + SKEW) * drawn + (1 - SKEW) * mirrored) / 2).astype(np.float32)
    shift = cv2.resize(nodes, side, interpolation=cv2.INTER_CUBIC) * model.bend
    x, y = np.arange(side[0], dtype=np.float32), np.arange(side[1], dtype=np.float32)[:, None]
    at = (shift[..., 0] + x, shift[..., 1] + y)
    return np.asarray(cv2.remap(texture, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


class Bank:
    """People by scope. Whoever does not hold the key cannot tell which faces belong to one scope.

    key: at least 16 secret bytes. cache: how many people are kept ready; each takes 0.1 MB, or 1.5 ms to draw anew.
    """

    def __init__(self, model: FaceModel, key: bytes, cache: int = 64):
        if len(key) < 16:
            raise ValueError(f"the bank key has {len(key)} bytes; at least 16 are needed")
        self.model = model
        self._key = bytes(key)
        self._cache: OrderedDict[bytes, Identity] = OrderedDict()
        self._size = cache

    def __repr__(self) -> str:
        return f"Bank({len(self._cache)} people ready)"

    def digest(self, *scope: Part) -> bytes:
        """HMAC-SHA256 of the key over the scope's parts: what draws the scope's person."""
        return hmac.new(self._key, encode(scope), hashlib.sha256).digest()

    def person(self, key: bytes) -> Identity:
        """The person that a seed stands for."""
        found = self._cache.get(key)
        if found is None:
            found = sample(self.model, key)
            self._cache[key] = found
            if len(self._cache) > self._size:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return found

    def identity(self, *scope: Part) -> Identity:
        """The scope's person. Two scopes draw the same one as often as chance has it: 1 in ``FaceModel.people``."""
        return self.person(self._drawn(scope))

    def distinct(self, *scope: Part, beside: Iterable[bytes]) -> Identity:
        """The scope's person, or the next one drawn that is none of those in view.

        beside: the keys (``Identity.key``) of the people in view. Where everybody of the model is in view already, the
        scope's own person comes: a face seen twice is better than an uncovered one.
        """
        taken = set(beside)
        key = own = self._drawn(scope)
        count = 0
        while key in taken:
            if len(taken) >= len(self.model.people):
                return self.person(own)
            count += 1
            key = self._drawn((*scope, count))
        return self.person(key)

    def _drawn(self, scope: tuple[Part, ...]) -> bytes:
        place = int.from_bytes(self.digest(*scope)[:8], "big") % len(self.model.people)
        return key_of(int(self.model.people[place]))
