"""The recorder: a process of its own that writes what the service hands it, and the service's end of it.

The service never waits for it: what the link does not take is dropped up to the next key frame. The process ends when
the service does, and finishes its segments before; when it dies it is started anew and heals what it left.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anonymizer import link
from anonymizer.access_unit import AccessUnit, AudioParameters, Codec
from anonymizer.errors import AnonymizerError
from anonymizer.ingest.backoff import Backoff
from anonymizer.link import Kind, LinkError
from anonymizer.publish.stream import Stream
from anonymizer.record import retention, vault
from anonymizer.record.catalogue import Catalogue, CatalogueError, File
from anonymizer.record.segments import Segmenter, heal
from anonymizer.record.settings import RecordSettings
from anonymizer.statedir import StateDir

log = logging.getLogger(__name__)

_TRY_AGAIN = 5.0  # seconds until a disk that was full is tried again
_RETENTION_EVERY = 3600.0
_MOST_CAMERAS = 128

Tell = Callable[[str, str, dict[str, Any]], None]
"""Takes a camera, what happened there (``recording stopped``, ``recording resumed``, …), and its particulars."""


def folder_of(state: Path, settings: RecordSettings, camera: str) -> Path:
    """Where a camera's segments lie."""
    return (Path(settings.folder) if settings.folder else state / "recordings") / camera


def vault_of(state: Path, settings: RecordSettings, camera: str) -> Path:
    """Where a camera's sealed fragments lie. The settings must have a vault."""
    assert settings.vault is not None
    if settings.vault.folder:
        return Path(settings.vault.folder) / camera
    return folder_of(state, settings, camera).parent / "vault" / camera


# The service's end


class Recorder:
    """Used in the service's asyncio loop: ``run`` as a task, ``add`` for every camera that is recorded, ``stop``."""

    def __init__(self, state: StateDir, tell: Tell) -> None:
        self._state = state
        self._tell = tell
        self._feeds: dict[str, _Feed] = {}
        self._outbox: link.Outbox | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._cleaner: multiprocessing.process.BaseProcess | None = None
        self._cleaned = time.monotonic() - _RETENTION_EVERY + 60
        self._stopping = False
        self.restarts = 0
        self.problems: dict[str, str] = {}
        """Why a camera is not recorded now."""

    @property
    def dropped(self) -> int:
        """Access units that the recorder was too slow for."""
        return 0 if self._outbox is None else self._outbox.dropped

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def add(self, camera: str, stream: Stream, settings: RecordSettings, clock: Callable[[], str]) -> None:
        """Record a camera's main stream. clock: who says what time it is there, now."""
        taken = {feed.channel for feed in self._feeds.values()}
        channel = next(number for number in range(0, 2 * _MOST_CAMERAS, 2) if number not in taken)
        self._feeds[camera] = feed = _Feed(self, camera, channel, stream, settings, clock)
        feed.introduce()
        if settings.enabled:
            stream.subscribe(feed)
            stream.want_key()

    def remove(self, camera: str) -> None:
        if feed := self._feeds.pop(camera, None):
            feed.stream.unsubscribe(feed)
            self.problems.pop(camera, None)
            self.send(link.encode_json(Kind.ORDER, {"camera": None}), feed.channel)

    def event(self, camera: str, event: dict[str, Any]) -> None:
        """An event of a track, for the catalogue."""
        if feed := self._feeds.get(camera):
            self.send(link.encode_json(Kind.EVENT, {"track": event}), feed.channel)

    def sealed(self, camera: str, told: dict[str, Any]) -> None:
        """What a ``VaultWriter`` tells."""
        if problem := told.get("problem"):
            self._tell(camera, "vault degraded", {"reason": str(problem)})
        elif (feed := self._feeds.get(camera)) and "path" in told:
            self.send(link.encode_json(Kind.EVENT, {"sealed": told}), feed.channel)

    def send(self, message: bytes, channel: int) -> None:
        if self._outbox is not None:
            self._outbox.put(message[:5] + bytes([channel]) + message[6:])
            self.flush()

    def put(self, unit: AccessUnit, channel: int) -> bool:
        """False where the channel needs a key frame."""
        if self._outbox is None:
            return True
        done = self._outbox.put_unit(unit, channel)
        self.flush()
        return done

    def flush(self) -> None:
        try:
            if self._outbox is not None:
                self._outbox.flush()
        except LinkError:
            self._outbox = None  # ``run`` sees the same, and starts it anew

    async def run(self) -> None:
        """Keep the recorder's process alive until ``stop``."""
        backoff = Backoff()
        while not self._stopping:
            began = time.monotonic()
            try:
                await self._life()
            finally:
                await self._end()
            if self._stopping:
                return
            if time.monotonic() - began > 10:
                backoff.succeeded()
            self.restarts += 1
            for camera, feed in self._feeds.items():
                if feed.settings.enabled:
                    self._tell(camera, "recording stopped", {"reason": "the recorder died and is started anew"})
            await asyncio.sleep(backoff.failed())

    async def _life(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=main, args=(self._state.path, theirs), name="recorder", daemon=True)
        try:
            process.start()
        finally:
            theirs.close()
        self._process, self._outbox = process, link.Outbox(ours)
        for feed in self._feeds.values():
            feed.introduce()
            if feed.settings.enabled:
                feed.stream.want_key()
        loop, decoder = asyncio.get_running_loop(), link.Decoder()
        try:
            while True:
                try:
                    data = await asyncio.wait_for(loop.sock_recv(ours, 1 << 16), 1.0)
                except TimeoutError:
                    self.flush()
                    self._clean()
                    continue
                if not data:
                    return
                for message in decoder.feed(data):
                    self._take(message.json())
        except (OSError, LinkError) as error:
            log.error("the link to the recorder broke: %s", error)
        finally:
            self._outbox = None
            ours.close()

    def _take(self, told: dict[str, Any]) -> None:
        camera, what = str(told.pop("camera", "")), str(told.pop("what", ""))
        if what == "recording stopped":
            self.problems[camera] = str(told.get("reason"))
        elif what == "recording resumed":
            self.problems.pop(camera, None)
        self._tell(camera, what, told)

    def _clean(self) -> None:
        """Start retention now and then, as a process of its own."""
        if self._cleaner is not None and not self._cleaner.is_alive():
            self._cleaner.join()
            self._cleaner = None
        if self._cleaner is None and time.monotonic() - self._cleaned >= _RETENTION_EVERY:
            self._cleaned = time.monotonic()
            cameras = {name: feed.settings for name, feed in self._feeds.items()}
            context = multiprocessing.get_context("spawn")
            self._cleaner = context.Process(target=clean, args=(self._state.path, cameras), daemon=True)
            self._cleaner.start()

    async def stop(self, patience: float = 3.0) -> None:
        """Let the recorder finish its segments, then end it."""
        self._stopping = True
        for feed in self._feeds.values():
            feed.stream.unsubscribe(feed)
        self.send(link.encode(Kind.STOP), 0)
        deadline = time.monotonic() + patience
        while self._process is not None and self._process.is_alive() and time.monotonic() < deadline:
            self.flush()
            await asyncio.sleep(0.02)
        await self._end()

    async def _end(self) -> None:
        process, self._process, self._outbox = self._process, None, None
        if process is not None:
            if process.is_alive():
                process.kill()
            while process.is_alive():
                await asyncio.sleep(0.01)
            process.join()


class _Feed:
    """One camera's way to the recorder: a sink of its stream."""

    def __init__(
        self, recorder: Recorder, camera: str, channel: int, stream: Stream, settings: RecordSettings,
        clock: Callable[[], str],
    ) -> None:  # fmt: skip
        self.stream, self.channel, self.settings = stream, channel, settings
        self._recorder, self._camera, self._clock = recorder, camera, clock
        self._told: tuple[AudioParameters | None, str] = None, ""

    def introduce(self) -> None:
        self._told = self.stream.audio, self._clock()
        audio, clock = self._told
        self._recorder.send(
            link.encode_json(
                Kind.ORDER,
                {
                    "camera": self._camera, "enabled": self.settings.enabled, "clock": clock,
                    "folder": str(folder_of(self._recorder._state.path, self.settings, self._camera)),
                    "vault": None if self.settings.vault is None
                    else str(vault_of(self._recorder._state.path, self.settings, self._camera)),
                    "segment": self.settings.segment, "reserve": self.settings.reserve_mb,
                    "audio": None if audio is None
                    else [str(audio.codec), audio.rate, audio.channels, audio.config.hex()],
                },
            ),
            self.channel,
        )  # fmt: skip

    def take(self, unit: AccessUnit) -> None:
        if unit.key and unit.codec.is_video and self._told != (self.stream.audio, self._clock()):
            self.introduce()
        if not self._recorder.put(unit, self.channel + (not unit.codec.is_video)) and unit.codec.is_video:
            self.stream.want_key()


# The process


def main(state: Path, service: socket.socket) -> None:
    """Record until the service says stop or is gone. To be the target of a spawned process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s recorder: %(message)s")
    _Process(state, service).run()


def clean(state: Path, cameras: dict[str, RecordSettings]) -> None:
    """One run of retention. To be the target of a spawned process."""
    os.nice(10)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s retention: %(message)s")
    try:
        retention.run(StateDir(state), cameras, time.time())
    except AnonymizerError as error:
        log.error("nothing more is deleted: %s", error)


@dataclass(slots=True)
class _Camera:
    name: str
    folder: Path
    reserve: int
    segmenter: Segmenter
    unlisted: list[File]
    heard: float
    stopped: str = ""
    retry: float = 0.0


class _Process:
    def __init__(self, state: Path, service: socket.socket) -> None:
        self._state = state
        self._service = service
        self._outbox = link.Outbox(service)
        self._cameras: dict[int, _Camera] = {}
        self._catalogue: Catalogue | None = None
        self._running = True

    def run(self) -> None:
        decoder = link.Decoder()
        looked = 0.0
        while self._running:
            select.select([self._service], [], [], 0.25)
            try:
                data = self._service.recv(1 << 20)
                if not data:
                    break
                for message in decoder.feed(data):
                    self._take(message)
                self._outbox.flush()
            except BlockingIOError:
                pass
            except (OSError, LinkError):
                break
            now = time.monotonic()
            if now - looked >= 0.25:
                looked = now
                for camera in self._cameras.values():
                    self._guarded(camera, camera.segmenter.silent, now - camera.heard)
                    self._list(camera)
        for camera in self._cameras.values():
            self._guarded(camera, camera.segmenter.close)
            self._list(camera)
        if self._catalogue is not None:
            self._catalogue.close()
        self._service.close()

    def _take(self, message: link.Message) -> None:
        if message.kind is Kind.STOP:
            self._running = False
        elif message.kind is Kind.ORDER:
            self._order(message.channel, message.json())
        elif message.kind is Kind.EVENT:
            self._event(message.channel, message.json())
        elif message.kind is Kind.UNIT and (camera := self._cameras.get(message.channel & ~1)):
            self._unit(camera, message.unit())

    def _order(self, channel: int, told: dict[str, Any]) -> None:
        known = self._cameras.get(channel)
        if known is not None and known.name != told["camera"]:
            self._guarded(known, known.segmenter.close)
            self._list(self._cameras.pop(channel))
            known = None
        if told["camera"] is None:
            return
        folder = Path(told["folder"])
        if known is None:
            unlisted: list[File] = []
            segmenter = Segmenter(told["camera"], folder, told["segment"], unlisted.append)
            known = _Camera(told["camera"], folder, told["reserve"] << 20, segmenter, unlisted, time.monotonic())
            self._cameras[channel] = known
            self._heal(known, None if told["vault"] is None else Path(told["vault"]))
        sound = told["audio"]
        known.segmenter.clock = told["clock"]
        known.segmenter.audio = (
            None if sound is None else AudioParameters(Codec(sound[0]), sound[1], sound[2], bytes.fromhex(sound[3]))
        )

    def _heal(self, camera: _Camera, sealed: Path | None) -> None:
        """Finish what a crash left; tell what somebody took away."""
        try:
            catalogue = self._open()
            found = list(heal(camera.name, camera.folder, catalogue.paths("segment", camera.name)))
            if sealed is not None:
                found += vault.heal(camera.name, sealed, catalogue.paths("fragment", camera.name))
            for file in found:
                catalogue.add(file)
            missing = [
                file
                for kind in ("segment", "fragment")
                for file in catalogue.files(kind, camera.name)
                if not Path(file.path).exists() and Path(file.path).parent.parent.exists()
            ]
            catalogue.forget(missing)
        except (OSError, CatalogueError) as error:
            self._say(camera, "recording degraded", reason=f"what an earlier run left cannot be healed: {error}")
            return
        if found:
            self._say(camera, "recordings healed", files=[[Path(f.path).name, f.sha256] for f in found[:100]])
        if missing:
            self._say(camera, "recordings missing", files=[[Path(f.path).name, f.sha256] for f in missing[:100]])

    def _unit(self, camera: _Camera, unit: AccessUnit) -> None:
        now = camera.heard = time.monotonic()
        if camera.stopped:
            if now < camera.retry or not unit.key:
                return
            camera.retry = now + _TRY_AGAIN
            if reason := self._lacks(camera):
                camera.stopped = reason
                return
        elif unit.key and unit.codec.is_video and (reason := self._lacks(camera)):
            self._stop(camera, reason)
            return
        if self._guarded(camera, camera.segmenter.take, unit) and camera.stopped:
            camera.stopped = ""
            self._say(camera, "recording resumed")

    def _lacks(self, camera: _Camera) -> str:
        """Why nothing may be written now."""
        try:
            camera.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            disk = os.statvfs(camera.folder)
        except OSError as error:
            return f"{camera.folder}: {error.strerror}"
        free = disk.f_bavail * disk.f_frsize
        return f"{camera.folder}: only {free >> 20} MB are free" if free < camera.reserve else ""

    def _guarded(self, camera: _Camera, act: Callable[..., None], *given: object) -> bool:
        try:
            act(*given)
        except OSError as error:
            self._stop(camera, f"{camera.folder}: {error.strerror or error}")
            return False
        return True

    def _stop(self, camera: _Camera, reason: str) -> None:
        try:
            camera.segmenter.close()
        except OSError as error:
            log.error("%s: a segment cannot be finished: %s", camera.name, error)
        told, camera.stopped, camera.retry = camera.stopped, reason, time.monotonic() + _TRY_AGAIN
        if not told:
            self._say(camera, "recording stopped", reason=reason)

    def _event(self, channel: int, told: dict[str, Any]) -> None:
        camera = self._cameras.get(channel)
        if camera is None:
            return
        try:
            if "track" in told:
                self._open().take_event(told["track"])
            else:
                s = told["sealed"]
                camera.unlisted.append(
                    File("fragment", camera.name, str(s["path"]), float(s["start"]), float(s["stop"]),
                         str(s["clock"]), int(s["bytes"]), str(s["sha256"]), int(s["frames"]))
                )  # fmt: skip
        except (CatalogueError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: an event is not kept: %s", camera.name, error)

    def _list(self, camera: _Camera) -> None:
        """Put finished files into the catalogue; while it takes none they wait, and ``heal`` finds them in the end."""
        try:
            while camera.unlisted:
                self._open().add(camera.unlisted[0])
                camera.unlisted.pop(0)
        except CatalogueError as error:
            log.warning("%s", error)
            del camera.unlisted[:-1000]

    def _open(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = Catalogue(self._state, timeout=2.0)
        return self._catalogue

    def _say(self, camera: _Camera, what: str, **said: Any) -> None:
        log.warning("%s: %s: %s", camera.name, what, said)
        self._outbox.put(link.encode_json(Kind.NOTICE, {"camera": camera.name, "what": what, **said}))
