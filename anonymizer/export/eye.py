"""Who is in a stretch of originals: every face, every sighting, and which of them are the person who asks.

Embeddings live in an ``Eye`` and are written nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from anonymizer import assembly, enroll_command, registry
from anonymizer.boxes import iou
from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.export import evidence
from anonymizer.export.evidence import Bounds, Look, Piece, Verdict
from anonymizer.export.originals import Stretch
from anonymizer.faces.finder import Finder, FinderSettings, Ready
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.pose import pose_of
from anonymizer.faces.recogniser import Recogniser, unit
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.frame import F32, U8, Box, Face, Frame
from anonymizer.groups import Gallery, Member
from anonymizer.ingest.file import FileSource
from anonymizer.pipeline import SMALLEST
from anonymizer.policy.decision import FaceFacts, touching

GROUP = "the person who asks"
_GOOD_HEIGHT, _GOOD_YAW, _GOOD_PITCH = 36, 40.0, 35.0  # pixels and degrees in which a low similarity means something
_JUMP = 20.0  # grey levels by which a whole picture differs from the one before, on the average
_WEAK = 0.5  # detector's score below which a face is in doubt
_NEAR = 0.5  # seconds in which a lost face should have been found again


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first pass found in one picture. faces: (track, box, seen, points, score, seen_at) each."""

    faces: list[tuple[int, Box, Box, list[list[float]] | None, float, float]]
    blind: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What a person should look at. sure: 0 to 1, the less the sooner. releasable: whether a reviewer may say that it
    is no third person's face. Times are UTC."""

    start: float
    stop: float
    track: int
    reason: str
    sure: float
    box: Box
    releasable: bool = False


@dataclass(slots=True)
class Looked:
    """The first pass over a stretch. shown: (track, picture) that may be shown as they are."""

    pictures: list[Seen] = field(default_factory=list)
    shown: set[tuple[int, int]] = field(default_factory=set)
    moments: list[Moment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sight:
    look: Look
    embedding: F32 | None
    box: Box
    score: float
    wall: float


class Eye:
    """Finds and recognises. gallery: embeddings of the person, float32 (n, d); see ``from_photos`` and ``from_track``.

    ModelError where a model is missing.
    """

    def __init__(self, config: Config, bounds: Bounds | None = None) -> None:
        faces = config.faces
        self.bounds = bounds or Bounds()
        self._detector, self._second = assembly.detectors(faces)
        self._landmarker = Landmarker(registry.resolve("landmarks", faces.landmarks), threads=faces.threads)
        self._recogniser = Recogniser(registry.resolve("recogniser", faces.recogniser), threads=faces.threads)
        self._gallery = Gallery([])

    def from_photos(self, photos: Sequence[Path]) -> None:
        """Know the person by photographs of one face each. ConfigError for another one."""
        self._know([enroll_command.embedding(photo, self._detector, self._recogniser) for photo in photos])

    def from_track(self, stretches: Iterable[Stretch], told: Sequence[tuple[float, Box]]) -> None:
        """Know the person by a track of the anonymised stream: the face in the originals that lies where its sightings
        (UTC, box) do. ConfigError where none does, or it is not one person's."""
        best: list[_Sight] = []
        most = 0
        for stretch in stretches:
            tracks, _, _ = self._sights(stretch, lambda done, total: None)
            for piece in evidence.judge(_looks(tracks), [], self.bounds):
                mine = {look.index for look in piece.looks}
                sights = [sight for sight in tracks[piece.track] if sight.look.index in mine]
                hits = sum(any(abs(s.wall - at) < 0.1 and iou(s.box, box) > 0.4 for s in sights) for at, box in told)
                good = [s for s in sights if s.embedding is not None and s.look.good]
                if hits > most and good:
                    best, most = good, hits
        if not best:
            raise ConfigError("the originals show no face, large enough and from the front, where this track was")
        rows = np.array([sight.embedding for sight in best], np.float32)
        middle = rows.mean(0) / (np.linalg.norm(rows.mean(0)) + 1e-9)
        near = rows @ middle
        if float(np.median(near)) < self.bounds.alike:
            raise ConfigError("this track is not one person's throughout; name another one, or give photographs")
        self._know([tuple(map(float, row)) for row in rows[np.argsort(-near)[:12]]])

    def _know(self, embeddings: Sequence[tuple[float, ...]]) -> None:
        member = Member(GROUP, GROUP, "the request", date.max, self._recogniser.name, tuple(embeddings))
        self._gallery = Gallery([member])
        if not self._gallery:
            raise ConfigError("nothing shows the person who asks: give photographs, or a track")

    def look(self, stretch: Stretch, progress: Callable[[int, int | None], None]) -> Looked:
        """The first pass. SourceError where nothing can be decoded."""
        if not self._gallery:
            raise ConfigError("nothing shows the person who asks: give photographs, or a track")
        tracks, jumps, looked = self._sights(stretch, progress)
        pieces = evidence.judge(_looks(tracks), jumps, self.bounds)
        if self._learn(tracks, pieces):
            pieces = evidence.judge(_looks(tracks), jumps, self.bounds)
        looked.shown, far = evidence.kept(pieces, self.bounds)
        looked.moments = _merged([*_doubts(pieces, tracks, far), *_lost(looked, tracks, jumps)])
        return looked

    def _learn(self, tracks: dict[int, list[_Sight]], pieces: Sequence[Piece]) -> bool:
        """Take what is certainly the person as more photographs, in the light and at the angle of this camera; whether
        there was anything."""
        means = []
        for piece in pieces:
            if piece.verdict is Verdict.SUBJECT and len(piece.speaks) >= 2 * self.bounds.looks:
                times = set(piece.speaks)
                rows = [s.embedding for s in tracks[piece.track] if s.look.time in times and s.embedding is not None]
                means.append(unit(np.mean(rows, axis=0, dtype=np.float32)))
        if not means:
            return False
        known = np.array(means, np.float32)
        for sights in tracks.values():
            for i, sight in enumerate(sights):
                if sight.embedding is not None and sight.look.similarity is not None:
                    similarity = max(sight.look.similarity, float((known @ sight.embedding).max()))
                    sights[i] = replace(sight, look=replace(sight.look, similarity=similarity))
        return True

    def _sights(
        self, stretch: Stretch, progress: Callable[[int, int | None], None]
    ) -> tuple[dict[int, list[_Sight]], list[float], Looked]:
        """Every sighting of every track, the times at which the picture jumps, and what is needed to draw."""
        settings = FinderSettings(1.0, thorough=True, tracker=TrackerSettings(margin=0.0))
        finder = Finder(self._detector, settings, self._second)
        tracks: dict[int, list[_Sight]] = defaultdict(list)
        looked, jumps = Looked(), []
        before: U8 | None = None
        with FileSource(stretch.path) as source:
            fresh = 1.6 / float(source.video.rate)

            def take(ready: Sequence[Ready]) -> None:
                for one in ready:
                    faces = one.frame.faces if not one.blind else []
                    told = [
                        (f.track, f.box, f.seen or f.box, None if f.points is None else f.points.tolist(), f.score,
                         f.seen_at) for f in faces
                    ]  # fmt: skip
                    looked.pictures.append(Seen(told, one.blind))
                    wall = stretch.wall(one.frame.time)
                    for face, look, embedding in self._faces(one.frame, faces, fresh):
                        tracks[face.track].append(_Sight(look, embedding, face.seen or face.box, face.score, wall))
                    progress(len(looked.pictures), source.frames_expected)

            for item in source:
                if not isinstance(item, Frame):
                    continue
                small = np.asarray(cv2.resize(item.planes.y, (64, 36), interpolation=cv2.INTER_AREA), np.uint8)
                if before is not None and float(cv2.absdiff(small, before).mean()) > _JUMP:
                    jumps.append(item.time)
                before = small
                take(finder.push(item))
            take(finder.flush())
            looked.problems = source.problems
        return tracks, jumps, looked

    def _faces(self, frame: Frame, faces: Sequence[Face], fresh: float) -> list[tuple[Face, Look, F32 | None]]:
        near, crossing = _beside(faces)
        worth = [face for face in faces if face.box[3] >= SMALLEST]
        front: set[int] = set()
        if worth:
            found = self._landmarker(frame.planes, worth)
            for face, presence, pose in zip(worth, found.presence, pose_of(found.solid), strict=True):
                tall = (face.seen or face.box)[3] >= _GOOD_HEIGHT
                if tall and presence >= 0.5 and abs(pose[0]) < _GOOD_YAW and abs(pose[1]) < _GOOD_PITCH:
                    front.add(face.track)
        looks = []
        for face in faces:
            seen = abs(face.seen_at - frame.time) <= fresh
            embedding = None
            if seen and face.points is not None:
                embedding = self._recogniser.embed(frame.planes, face.points)
            similarity = None
            if embedding is not None and self._gallery:
                similarity = self._gallery.match(embedding, frame.time, frame.wall or frame.time).similarity
            good = seen and face.track in front
            look = Look(
                frame.index, frame.time, similarity, good, face.track in near, face.track in crossing, seen
            )  # fmt: skip
            looks.append((face, look, embedding))
        return looks


def _looks(tracks: dict[int, list[_Sight]]) -> dict[int, list[Look]]:
    return {track: [sight.look for sight in sights] for track, sights in tracks.items()}


def _beside(faces: Sequence[Face]) -> tuple[set[int], set[int]]:
    """Tracks close to another face, or over something that is hardly a face; and those over another face."""
    near: set[int] = set()
    crossing: set[int] = set()
    for pair in touching([FaceFacts(face.track, face.box) for face in faces]):
        for one, other in (pair, pair[::-1]):
            a, b = faces[one], faces[other]
            near.add(a.track)
            if b.score >= _WEAK and iou(a.seen or a.box, b.seen or b.box) > 0:
                crossing.add(a.track)
    return near, crossing


def _doubts(
    pieces: Sequence[Piece], tracks: dict[int, list[_Sight]], far: set[tuple[int, int]]
) -> list[Moment]:  # fmt: skip
    moments = []
    for piece in pieces:
        first, last = piece.looks[0].index, piece.looks[-1].index
        sights = [sight for sight in tracks[piece.track] if first <= sight.look.index <= last]
        times = sights[0].wall, sights[-1].wall
        good = sum(look.good for look in piece.looks)
        said = sum(look.similarity is not None for look in piece.looks)
        free = not (piece.looks[0].crosses or piece.denied) and (piece.verdict is Verdict.DOUBT or good == 0)
        score = float(np.median([sight.score for sight in sights]))
        if piece.verdict is Verdict.DOUBT:
            moments.append(Moment(*times, piece.track, piece.why, 0.2 if said else 0.3, sights[0].box, free))
        elif piece.verdict is Verdict.OTHER and score < _WEAK:
            why = "it is not certain that this is a face"
            moments.append(Moment(*times, piece.track, why, score, sights[0].box, free))
        lost = [s for s in sights if (piece.track, s.look.index) in far]
        if lost:
            why = "beside another face, or too long without a look that says that it is the person"
            moments.append(Moment(lost[0].wall, lost[-1].wall, piece.track, why, 0.4, lost[0].box))
    return moments


def _lost(looked: Looked, tracks: dict[int, list[_Sight]], jumps: Sequence[float]) -> list[Moment]:
    """Faces that were last seen amid the picture, where nothing was found soon after."""
    moments = []
    starts = [(sights[0].wall, sights[0].box, track) for track, sights in tracks.items()]
    end = max((sights[-1].wall for sights in tracks.values()), default=0.0)
    for track, sights in tracks.items():
        last = sights[-1]
        if last.wall > end - _NEAR or any(abs(jump - last.look.time) < _NEAR for jump in jumps):
            continue
        x, y, w, h = last.box
        wide = x - w, y - h, 3 * w, 3 * h
        found = any(
            other != track and abs(wall - last.wall) < _NEAR and iou(wide, box) > 0 for wall, box, other in starts
        )
        if not found and len(sights) > 5:
            moments.append(Moment(last.wall, last.wall + 1.0, track, "a face was lost here", 0.45, last.box))
    return moments


def _merged(moments: Sequence[Moment]) -> list[Moment]:
    """Moments of one track that say the same within a second as one; the least certain first."""
    merged: list[Moment] = []
    for one in sorted(moments, key=lambda m: (m.track, m.reason, m.releasable, m.start)):
        last = merged[-1] if merged else None
        same = last and (last.track, last.reason, last.releasable) == (one.track, one.reason, one.releasable)
        if last and same and one.start - last.stop < 1.0:
            merged[-1] = replace(last, stop=max(last.stop, one.stop), sure=min(last.sure, one.sure))
        else:
            merged.append(one)
    return sorted(merged, key=lambda m: (m.sure, m.start))
