"""The recorder's process: writes what the service hands it, lists it, and heals what a crash left.

It ends when the service does, and finishes its segments before.
"""

from __future__ import annotations

import logging
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
from anonymizer.link import Kind, LinkError
from anonymizer.record import retention, vault
from anonymizer.record.catalogue import Catalogue, CatalogueError, File
from anonymizer.record.segments import Segmenter, heal
from anonymizer.record.settings import RecordSettings
from anonymizer.statedir import StateDir

log = logging.getLogger(__name__)

_TRY_AGAIN = 5.0  # seconds until a disk that was full is tried again


def main(state: Path, service: socket.socket) -> None:
    """Record until the service says stop or is gone. To be the target of a spawned process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s recorder: %(message)s")
    Writer(state, service).run()


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


class Writer:
    """All cameras that are recorded, in one thread. state: the state folder; service: the link to the service."""

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
