"""Live sources: RTSP cameras, V4L2 devices, and files that play in a loop at their own pace."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, Literal, Protocol
from urllib.parse import quote

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.stream import VideoStream

from anonymizer.access_unit import AccessUnit, AudioParameters, Codec
from anonymizer.errors import ConfigError, SourceError
from anonymizer.frame import Frame
from anonymizer.ingest.assembler import Assembler
from anonymizer.ingest.backoff import REFUSED, Backoff
from anonymizer.ingest.clock import CameraClock
from anonymizer.ingest.file import FileSource
from anonymizer.ingest.picture import AS_CODED, Converter, Picture, orientation_of, upright
from anonymizer.ingest.timestamps import Timeline
from anonymizer.settings import Secret, Wrong, hint, setting

log = logging.getLogger(__name__)

_ASSEMBLED = ("h264", "hevc")
_WHOLE = (*_ASSEMBLED, "mjpeg")  # what can be taken without libavformat's parser
_TICK = 1.0  # seconds after which a silent read comes back, so that the stop flag is seen
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?(?P<host>(?:\[[^]@]*\]|[^]\[:@/?#]*)(?::\d+)?)(?P<path>(?:[/?#][^@]*)?)",
    re.IGNORECASE,
)
"""An @ after the host would be part of a password that is not escaped."""
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "file")
_FILE = re.compile(r"[./].*|[^:@]*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Where a camera's pictures come from."""

    url: Secret = setting(
        "Address",
        description="rtsp:// or rtsps:// address, /dev/video0, or a file that then plays in a loop",
        example="rtsp://192.168.1.20/stream1",
    )
    user: str = setting("User", default="", description="The camera's user; better here than in the address")
    password: Secret | None = setting("Password", default=None, description="That user's", example="env:GATE_PASSWORD")
    transport: Literal["tcp", "udp"] = setting("Transport", default="tcp", description="UDP loses packets; TCP waits")
    open_timeout: float = setting("Opening timeout", default=10.0, minimum=1, maximum=60, unit="seconds")
    silence: float = setting(
        "Silence",
        default=3.0,
        minimum=1,
        maximum=60,
        unit="seconds",
        description="A camera that sends nothing for so long counts as lost",
    )

    def __post_init__(self) -> None:
        with contextlib.suppress(ConfigError):  # a secret that is missing is told of when it is needed
            url = self.url.reveal()
            if not (_ADDRESS.fullmatch(url) or _FILE.fullmatch(url)):
                raise Wrong(
                    "this is neither an address nor a file. In an address's password write %23 for #, %2F for /, %3A "
                    "for :, %3F for ?, %40 for @, or give user and password as keys of their own; before a file with : "
                    "or @ in its name write ./",
                    "url",
                )
            parts = _ADDRESS.fullmatch(url)
            if parts is not None and parts["scheme"].lower() not in _SCHEMES:
                raise Wrong(
                    f"no camera has an address with {parts['scheme']}://.{hint(parts['scheme'], _SCHEMES)}", "url"
                )

    @classmethod
    def given(cls, **said: Any) -> SourceSettings:
        """From a command line: ConfigError where the file would be refused."""
        try:
            return cls(**said)
        except Wrong as error:
            raise ConfigError(str(error)) from None

    def address(self) -> str:
        """The address with user and password, for the demuxer only: never to be logged."""
        url = self.url.reveal()
        parts = _ADDRESS.fullmatch(url)
        if not self.user or parts is None:
            return url
        password = "" if self.password is None else ":" + quote(self.password.reveal(), safe="")
        return f"{parts['scheme']}://{quote(self.user, safe='')}{password}@{parts['host']}{parts['path']}"

    def shown(self) -> str:
        """What may be logged: a file, or an address without its path, in which some cameras want the password."""
        url = self.url.reveal()
        if parts := _ADDRESS.fullmatch(url):
            return f"{parts['scheme'].lower()}://{parts['host']}"
        return url if _FILE.fullmatch(url) else "an address that is not understood"


class Loss(Enum):
    """Why a camera's stream ended."""

    UNREACHABLE = "cannot be reached"
    REFUSED = "refuses the password"
    ENDED = "ended the stream"
    FROZEN = "sends nothing any more"
    BROKEN = "sends what cannot be decoded"
    SECRET = "has an address or a password that cannot be read"
    FAILED = "is lost by a fault of ours"


class CameraLost(SourceError):
    """A camera's stream ended, or never began."""

    def __init__(self, where: str, loss: Loss, detail: str = "") -> None:
        super().__init__(f"{where} {loss.value}" + (f" ({detail})" if detail else ""))
        self.loss = loss


class Receiver(Protocol):
    """Takes what a camera sends; its methods return at once."""

    def connected(self, audio: AudioParameters | None) -> None: ...

    def frame(self, frame: Frame) -> None: ...

    def audio(self, unit: AccessUnit) -> None: ...

    def lost(self, error: CameraLost) -> None: ...


class Vault(Protocol):
    """Takes a camera's own packets; see ``record.vault.VaultWriter``."""

    def open(self, video: VideoStream, sound: AudioStream | None) -> None: ...

    def packet(self, packet: Packet[Any], clock: CameraClock) -> None: ...

    def flush(self) -> None: ...


def keep_streaming(
    source: SourceSettings, receiver: Receiver, stop: Event, *, audio: bool = False, vault: Vault | None = None
) -> None:
    """Stream from the camera until stop is set; whenever it is lost, tell the receiver and try again."""
    backoff = Backoff(random=Random())
    while not stop.is_set():
        began = time.monotonic()
        try:
            stream(source, receiver, stop, audio=audio, vault=vault)
            return
        except CameraLost as error:
            lost = error
        except ConfigError as error:  # a secret's file may come back
            lost = CameraLost("the camera", Loss.SECRET, str(error))
        except Exception as error:  # without this thread the camera never comes back; the text may hold a password
            lost = CameraLost("the camera", Loss.FAILED, type(error).__name__)
        receiver.lost(lost)
        if time.monotonic() - began > 10:
            backoff.succeeded()
        stop.wait(REFUSED if lost.loss is Loss.REFUSED else backoff.failed())


def stream(
    source: SourceSettings, receiver: Receiver, stop: Event, *, audio: bool = False, vault: Vault | None = None
) -> None:
    """One connection: returns when stop is set, raises CameraLost when the stream ends for another reason.

    vault: gets the camera's own packets, to seal them.
    """
    where = source.shown()
    if where.startswith(("rtsp://", "rtsps://")):
        options = {"rtsp_transport": source.transport, "fpsprobesize": "0"}
        if vault is None:  # which wants what only the parser knows
            options["fflags"] = "noparse+nofillin"
        _Connection(source.address(), where, None, options, source, receiver, stop, vault).run(audio)
    elif where.startswith("/dev/"):
        _Connection(where, where, "v4l2", {}, source, receiver, stop, vault).run(False)
    else:
        _play(Path(where), where, receiver, stop)


class _Connection:
    def __init__(
        self,
        address: str,
        where: str,
        kind: str | None,
        options: dict[str, str],
        source: SourceSettings,
        receiver: Receiver,
        stop: Event,
        vault: Vault | None,
    ) -> None:
        self._where, self._source, self._receiver, self._stop, self._vault = where, source, receiver, stop, vault
        self._address, self._kind, self._options = address, kind, options
        self._container = self._open()
        if "fflags" in options and any(v.codec_context.name not in _WHOLE for v in self._container.streams.video):
            self._container.close()
            del options["fflags"]
            self._container = self._open()

    def _open(self) -> av.container.InputContainer:
        timeout = self._source.open_timeout, _TICK
        try:
            return av.open(self._address, format=self._kind, options=self._options, timeout=timeout)
        except av.error.HTTPUnauthorizedError as error:
            raise CameraLost(self._where, Loss.REFUSED) from error
        except (OSError, av.error.FFmpegError) as error:
            raise CameraLost(self._where, Loss.UNREACHABLE, error.strerror or "") from error

    def run(self, audio: bool) -> None:
        try:
            videos = self._container.streams.video
            if not videos:
                raise CameraLost(self._where, Loss.BROKEN, "there is no video in it")
            video = videos[0]
            video.thread_type = ThreadType.SLICE  # frame threads would keep a picture back
            video.codec_context.thread_count = 1
            sound = next(iter(self._container.streams.audio), None) if audio else None
            self._read(video, sound)
        finally:
            if self._vault is not None:
                self._vault.flush()
            self._container.close()

    def _read(self, video: av.VideoStream, sound: av.AudioStream | None) -> None:
        base = video.time_base
        assert base is not None
        rate = video.average_rate or video.guessed_rate or 25
        timeline = Timeline(round(1 / (rate * base)), round(1 / base))
        clock, converter = CameraClock(), Converter(keep_size=False)
        sealed = CameraClock()  # of the stream's own times; the other one's are mended by the timeline
        parameters = None if sound is None else _audio_parameters(sound)
        if parameters is None:
            sound = None
        if self._vault is not None:
            self._vault.open(video, sound)
        streams = [s for s in (video, sound) if s is not None]
        codec = video.codec_context.name
        assembler = Assembler(codec == "hevc") if codec in _ASSEMBLED and "fflags" in self._options else None
        heard, pictures, undecodable = time.monotonic(), 0, 0
        orientation = AS_CODED
        while True:
            try:
                for packet in self._container.demux(*streams):
                    if self._stop.is_set():
                        return
                    if packet.size == 0:
                        continue
                    if packet.stream is video and packet.has_sidedata("prft"):
                        for one in (clock, sealed):
                            one.producer_reference(bytes(packet.get_sidedata("prft")), packet.pts, base)
                    if self._vault is not None:
                        self._vault.packet(packet, sealed)
                    if packet.stream is sound:
                        assert parameters is not None
                        if pictures and packet.pts is not None:
                            seconds, wall = clock.beside(float(packet.pts * packet.time_base), time.time())
                            self._receiver.audio(AccessUnit(parameters.codec, bytes(packet), True, seconds, wall))
                        continue
                    frames: list[av.VideoFrame] = []
                    for whole in [packet] if assembler is None else _assembled(packet, assembler):
                        try:
                            frames += video.codec_context.decode(whole)
                        except av.error.FFmpegError:
                            undecodable += 1
                            if undecodable > 500 and not pictures:
                                raise CameraLost(self._where, Loss.BROKEN) from None
                    for decoded in frames:
                        if not pictures:
                            self._receiver.connected(parameters)
                        heard = time.monotonic()
                        pts = timeline.stamp(decoded.pts)
                        seconds, wall = clock.at(float(pts * base), time.time())
                        # Of key frames: PyAV's side data and their frame hold each other until both are collected.
                        if decoded.key_frame or not pictures:
                            orientation = orientation_of(decoded)
                        coded = upright(converter.convert(decoded), orientation)
                        coded.pts, coded.time_base = pts, base
                        picture = Picture(coded)
                        self._receiver.frame(
                            Frame(
                                pictures,
                                pts,
                                seconds,
                                picture.planes(),
                                picture=picture,
                                aspect=orientation.aspect(video.codec_context.sample_aspect_ratio),
                                wall=wall,
                                clock=clock.source,
                            )
                        )
                        pictures += 1
                    if time.monotonic() - heard > self._source.silence:
                        raise CameraLost(self._where, Loss.BROKEN if undecodable else Loss.FROZEN)
                raise CameraLost(self._where, Loss.ENDED)
            except av.error.ExitError:  # nothing came within a tick
                if self._stop.is_set():
                    return
                if time.monotonic() - heard > self._source.silence:
                    raise CameraLost(self._where, Loss.FROZEN) from None
            except (OSError, av.error.FFmpegError) as error:
                raise CameraLost(self._where, Loss.ENDED, error.strerror or "") from error


def _assembled(fragment: Packet[Any], assembler: Assembler) -> Iterator[Packet[Any]]:
    """The access units that a fragment completes."""
    for unit in assembler.push(bytes(fragment), fragment.pts):
        whole = Packet(unit.data)
        whole.pts, whole.time_base, whole.is_keyframe = unit.pts, fragment.time_base, unit.key
        yield whole


_SOUNDS = {"aac": Codec.AAC, "pcm_mulaw": Codec.PCMU, "pcm_alaw": Codec.PCMA}


def _audio_parameters(stream: AudioStream) -> AudioParameters | None:
    """What the stream carries; None for a codec that cannot be passed on."""
    codec = _SOUNDS.get(stream.codec_context.name)
    if codec is None:
        log.warning("%s audio cannot be passed on and is dropped", stream.codec_context.name)
        return None
    context = stream.codec_context
    return AudioParameters(codec, context.sample_rate, context.channels, bytes(context.extradata or b""))


def _play(
    path: Path, where: str, receiver: Receiver, stop: Event, sleep: Callable[[float], object] | None = None
) -> None:
    """Play a file in a loop, each picture at its time."""
    wait = sleep or stop.wait
    start = time.time()
    offset, index = 0.0, 0
    receiver.connected(None)
    while not stop.is_set():
        try:
            with FileSource(path, threads=1) as source:
                first, last = None, 0.0
                for item in source:
                    if stop.is_set():
                        return
                    if not isinstance(item, Frame):
                        continue
                    first = item.time if first is None else first
                    last = item.time - first
                    wall = start + offset + last
                    wait(max(0.0, wall - time.time()))
                    receiver.frame(replace(item, index=index, time=wall, wall=wall, clock="system"))
                    index += 1
                offset += last + 1 / float(source.video.rate)
        except SourceError as error:
            raise CameraLost(where, Loss.UNREACHABLE, str(error)) from error
