"""The service's end of the recorder, which is a process of its own (``writer``).

The service never waits for it: what the link does not take is dropped up to the next key frame. When the process dies
it is started anew and heals what it left.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anonymizer import link
from anonymizer.access_unit import AccessUnit, AudioParameters
from anonymizer.ingest.backoff import Backoff
from anonymizer.link import Kind, LinkError
from anonymizer.publish.stream import Stream
from anonymizer.record import writer
from anonymizer.record.settings import RecordSettings
from anonymizer.statedir import StateDir

log = logging.getLogger(__name__)

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
        process = context.Process(target=writer.main, args=(self._state.path, theirs), name="recorder", daemon=True)
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
            self._cleaner = context.Process(target=writer.clean, args=(self._state.path, cameras), daemon=True)
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
