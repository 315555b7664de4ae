"""The camera's own packets, sealed to public keys in the process that pulls the camera: they leave it in no other form.

One age file for each fragment (a GOP, or a few seconds): an MP4 that plays by itself once ``age -d`` has opened it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrage

from anonymizer.access_unit import Codec, parameter_sets, split
from anonymizer.ingest.clock import CameraClock
from anonymizer.record import mp4
from anonymizer.record.catalogue import File
from anonymizer.record.mp4 import CLOCK, Audio, Run, Sample, Video

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 1.0, 4.0  # seconds of a fragment: up to a key frame, or cut off
_MOST_BYTES = 32 << 20
_WAITING = 8  # fragments that may wait for the disk
VIDEO_CODECS = {"h264": "h264", "hevc": "h265", "mjpeg": "mjpeg"}
AUDIO_CODECS = {"aac": "aac", "pcm_mulaw": "pcmu", "pcm_alaw": "pcma"}


@dataclass(frozen=True, slots=True)
class Picture:
    """data: as the camera sent it. decode, present: seconds on the camera's clock, which never jumps. wall: UTC."""

    data: bytes
    key: bool
    decode: float
    present: float
    wall: float


class VaultWriter:
    """Takes one camera's packets and returns at once; a thread seals and writes. tell: given each fragment, as
    ``recorder.Recorder.sealed`` takes it, and each problem, as ``{"problem": text}``; called in that thread.

    What the disk does not take in time is dropped and told: the stream comes first. ConfigError for a recipient that
    is none. paused: packets are let go by until it is False again and a key frame comes; may be set in any thread.
    """

    def __init__(
        self, recipients: Sequence[str], folder: Path, camera: str, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        from anonymizer.record import keys

        self._recipients = [keys.recipient(text) for text in recipients]
        self._folder, self._camera, self._tell = folder, camera, tell
        self._video: Video | None = None
        self._audio: Audio | None = None
        self._pictures: list[Picture] = []
        self._sounds: list[tuple[float, bytes]] = []
        self._origin: float | None = None
        self._bytes = 0
        self._clock = ""
        self._early: tuple[bytes, bool] | None = None
        self._queue: queue.Queue[_Fragment | None] = queue.Queue(_WAITING)
        self._problem = ""
        self.paused = False
        self._thread = threading.Thread(target=self._seal_all, name="vault", daemon=True)
        self._thread.start()

    def open(self, video: av.VideoStream, sound: av.AudioStream | None) -> None:
        """A connection begins; ``packet`` takes what it brings, undecoded."""
        audio = None
        if sound is not None and (named := AUDIO_CODECS.get(sound.codec_context.name)):
            context = sound.codec_context
            audio = Audio(named, context.sample_rate, context.channels, bytes(context.extradata or b""))
        of = video.codec_context
        self._early = None
        self.connected(of.name, of.width, of.height, bytes(of.extradata or b""), of.pix_fmt or "", audio)

    def packet(self, packet: av.Packet[Any], clock: CameraClock) -> None:
        """A packet of one of the connection's streams, as it was read."""
        if self.paused:
            self.flush()
            self._early = self._origin = None
            return
        if packet.size == 0 or packet.time_base is None:
            return
        if packet.pts is None:  # as the first packet of RTSP often is: it lies just before the next
            self._early = (bytes(packet), bool(packet.is_keyframe)) if packet.stream.type == "video" else None
            return
        if packet.stream.type == "audio":
            if self._origin is not None:
                self.sound(bytes(packet), clock.beside(float(packet.pts * packet.time_base), time.time())[0])
            return
        present, wall = clock.at(float(packet.pts * packet.time_base), time.time())
        decode = present - float((packet.pts - (packet.pts if packet.dts is None else packet.dts)) * packet.time_base)
        if self._early is not None:
            (data, key), self._early = self._early, None
            self.picture(Picture(data, key, decode - 0.04, present - 0.04, wall - 0.04), clock.source)
        self.picture(Picture(bytes(packet), bool(packet.is_keyframe), decode, present, wall), clock.source)

    def connected(
        self, codec: str, width: int, height: int, extradata: bytes, pix_fmt: str, audio: Audio | None
    ) -> None:
        """A connection begins. codec, extradata, pix_fmt: as libavformat names and gives them."""
        self.flush()
        known = VIDEO_CODECS.get(codec)
        self._video, self._audio, self._origin = None, audio, None
        if known is None:
            self._say(f"{codec} video cannot be sealed, and no originals are kept")
            return
        sets: tuple[bytes, ...] = ()
        if known != "mjpeg":
            sets = parameter_sets(Codec(known), split(extradata)) or ()
        depth = 10 if "10" in pix_fmt else 8
        chroma = 3 if "444" in pix_fmt else 2 if "422" in pix_fmt else 1
        self._video = Video(known, width, height, sets, chroma, depth)

    def picture(self, picture: Picture, clock: str) -> None:
        """The next packet of the video, in decoding order."""
        if self._video is None:
            return
        first = self._pictures[0] if self._pictures else None
        if first is not None:
            lasted = picture.decode - first.decode
            if (picture.key and lasted >= _SHORTEST) or not 0 <= lasted < _LONGEST or self._bytes > _MOST_BYTES:
                self._cut(picture.decode if 0 <= lasted < 2 * _LONGEST else None)
                if lasted < 0:
                    self._origin = None
        if self._origin is None:
            if not picture.key:
                return
            self._origin = picture.decode
        self._pictures.append(picture)
        self._bytes += len(picture.data)
        self._clock = clock

    def sound(self, data: bytes, seconds: float) -> None:
        if self._audio is not None and self._origin is not None and len(self._sounds) < 1000:
            self._sounds.append((seconds, data))

    def flush(self) -> None:
        """The connection ended: seal what waits."""
        if self._pictures:
            self._cut(None)

    def close(self, patience: float = 3.0) -> None:
        self.flush()
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=patience)
        self._thread.join(patience)

    def _cut(self, following: float | None) -> None:
        assert self._video is not None and self._origin is not None
        pictures, sounds = self._pictures, self._sounds
        self._pictures, self._sounds, self._bytes = [], [], 0
        if self._video.codec != "mjpeg" and pictures[0].key:
            sets = parameter_sets(Codec(self._video.codec), split(pictures[0].data))
            if sets is not None and sets != self._video.sets:
                self._video = Video(
                    self._video.codec, self._video.width, self._video.height, sets, self._video.chroma,
                    self._video.depth,
                )  # fmt: skip
        if self._video.codec != "mjpeg" and not self._video.sets:
            self._say("the camera sends no parameter sets, and no originals are kept")
            return
        last = pictures[-1].decode + 0.04 if following is None else following
        fragment = _Fragment(self._video, self._audio, pictures, sounds, last, self._origin, self._clock)
        try:
            self._queue.put_nowait(fragment)
        except queue.Full:
            self._say("the disk is too slow: originals are lost")

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._tell({"camera": self._camera, "problem": problem})

    def _seal_all(self) -> None:
        while (fragment := self._queue.get()) is not None:
            try:
                told = self._seal(fragment)
            except Exception as error:  # what a hostile camera sends must not end the sealing of what comes after it
                self._say(f"originals cannot be written: {getattr(error, 'strerror', None) or error!r}")
                continue
            self._say("")
            self._tell(told)

    def _seal(self, fragment: _Fragment) -> dict[str, Any]:
        sealed = pyrage.encrypt(fragment.plain(self._camera), self._recipients)
        start, stop = fragment.times()
        when = datetime.fromtimestamp(start, UTC)
        folder = self._folder / f"{when:%Y-%m-%d}" / f"{when:%H}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{round(start * 1000)}-{round((stop - start) * 1000)}.age"
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return {
            "camera": self._camera, "path": str(path), "start": start, "stop": stop, "clock": fragment.clock,
            "bytes": len(sealed), "sha256": hashlib.sha256(sealed).hexdigest(), "frames": len(fragment.pictures),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Fragment:
    video: Video
    audio: Audio | None
    pictures: list[Picture]
    sounds: list[tuple[float, bytes]]
    following: float
    origin: float
    clock: str

    def times(self) -> tuple[float, float]:
        """UTC of the first picture, and of the end."""
        return self.pictures[0].wall, self.pictures[0].wall + self.following - self.pictures[0].decode

    def plain(self, camera: str) -> bytes:
        """A whole MP4 of one fragment; its times count from the connection's first picture."""
        pictures = self.pictures
        lasts = mp4.durations([p.decode - self.origin for p in pictures], self.following - self.origin, CLOCK)
        samples = []
        for picture, last in zip(pictures, lasts, strict=True):
            data = picture.data
            if self.video.codec != "mjpeg":
                data = mp4.sized(mp4.in_sample(Codec(self.video.codec), split(data)))
            samples.append(Sample(data, last, picture.key, round((picture.present - picture.decode) * CLOCK)))
        runs = [Run(mp4.VIDEO, round((pictures[0].decode - self.origin) * CLOCK), samples)]
        if self.audio is not None:
            runs += self._heard(self.audio)
        start = pictures[0].wall
        return mp4.header(camera, start, self.video, self.audio, synthetic=False) + mp4.fragment(1, start, runs)

    def _heard(self, audio: Audio) -> Iterator[Run]:
        """Each packet of sound is a run of its own, at its own time."""
        for moment, data in self.sounds:
            at = round((moment - self.origin) * audio.rate)
            if at < 0:
                continue
            if audio.codec == "aac":
                yield Run(mp4.AUDIO, at, [Sample(data, 1024)])
            else:  # one sample of G.711 is a byte of each channel
                width = audio.channels
                yield Run(mp4.AUDIO, at, [Sample(data[i : i + width], 1) for i in range(0, len(data), width)])


def heal(camera: str, folder: Path, known: set[str]) -> Iterator[File]:
    """Take in sealed files that nobody knows, and remove those that were never finished."""
    for part in folder.glob("*/*/.*.part"):
        part.unlink()
    for path in sorted(folder.glob("*/*/*.age")):
        if str(path) in known:
            continue
        start, _, lasted = path.stem.partition("-")
        try:
            begin, stop = int(start) / 1000, (int(start) + int(lasted)) / 1000
        except ValueError:
            log.warning("%s is no sealed fragment of ours", path)
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        yield File("fragment", camera, str(path), begin, stop, "unknown", len(data), digest, healed=True)
