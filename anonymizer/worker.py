"""One camera's process: pulls it, anonymises, encodes, and hands access units to the service over its link.

A thread each reads the camera, finds the faces (the main one), finds their landmarks, paints, encodes, and listens to
the service.
The process ends when the service says so or is gone. Whatever is missing or fails, what leaves is anonymised, covered
whole, or a drawn notice.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from anonymizer import assembly, heap, link
from anonymizer.access_unit import AccessUnit
from anonymizer.config import Config
from anonymizer.errors import AnonymizerError
from anonymizer.events.state import CameraCounters
from anonymizer.events.tracks import TrackLog, zones_of
from anonymizer.faces import runtime
from anonymizer.faces.finder import Ready
from anonymizer.frame import Frame
from anonymizer.ingest.camera import CameraLost, keep_streaming
from anonymizer.ingest.picture import planes_of
from anonymizer.intake import Connected, Intake
from anonymizer.link import Kind
from anonymizer.load import Level, Load
from anonymizer.outlet import Outlet
from anonymizer.painter import Painter
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Policy, RuleSet
from anonymizer.publish.still import jpeg, notice
from anonymizer.record.recorder import vault_of
from anonymizer.record.vault import VaultWriter
from anonymizer.repeats import Repeats
from anonymizer.statedir import default_path

log = logging.getLogger(__name__)

_NOTICE_RATE = 5.0  # pictures a second while there is none from the camera
_PATIENCE = 1.0  # seconds without a picture after which the notice is shown
_STATE_EVERY = 1.0
_RETRY_MODELS = 10.0
_TRIM_EVERY = 20.0
_NEWCOMERS = 1  # a frame: to choose an identity takes as long as there is between two frames
_DEGRADED_FOR = 2.0  # seconds for which a covered frame is told


@dataclass(frozen=True)
class Spec:
    """What a worker is started with. order: the service's word at that moment."""

    name: str
    config: Config
    epoch: int
    order: link.Order


def main(spec: Spec, service: socket.socket) -> None:
    """Run the worker until the service says stop. To be the target of a spawned process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    heap.settle()
    logging.basicConfig(level=logging.WARNING, format=f"%(levelname)s {spec.name}: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeats())
    av.logging.set_level(av.logging.FATAL)
    Worker(spec, service).run()


class Worker:
    """See the module. What the main thread does is in ``run``."""

    def __init__(self, spec: Spec, service: socket.socket) -> None:
        self._spec = spec
        camera = spec.config.cameras[spec.name]
        if camera.lookahead is not None:
            spec = replace(
                spec, config=replace(spec.config, faces=replace(spec.config.faces, lookahead=camera.lookahead))
            )
        self._config, self._camera = spec.config, camera
        self._service = service
        self._outbox = link.Outbox(service)
        self._orders: deque[link.Message] = deque()
        self._vault = self._open_vault(paused=not spec.order.enabled)
        self._stop = threading.Event()
        self._intake = Intake()
        self._order = spec.order
        self._policy = Policy(spec.order.rules or RuleSet(), spec.name)
        self._pipeline: Pipeline | None = None
        self._pipeline_problem = ""
        self._pipeline_tried = float("-inf")
        tracks = self._tracks = TrackLog(spec.name, str(spec.epoch), zones=zones_of(self._policy.rules, spec.name))
        self._load = Load()
        self._level_before = Level.FULL
        self._skipped = self._dropped_before = 0
        self._counters = CameraCounters()
        self._outlet = Outlet(camera, self._outbox, self._counters)
        self._painter = Painter(self._outlet, tracks, self._outbox, self._counters)
        self._delay = self._config.faces.lookahead + 0.2
        self._size = 1280, 720
        self._online, self._loss = False, "connecting"
        self._last_notice = self._last_state = self._last_trim = float("-inf")
        self._last_frame_time: float | None = None
        self._still_wanted = False
        self._audio: dict[str, Any] | None = None

    def run(self) -> None:
        threading.Thread(target=self._listen, name="service", daemon=True).start()
        reader = threading.Thread(
            target=keep_streaming,
            args=(self._camera.source, self._intake, self._stop),
            kwargs={"audio": self._camera.audio == "pass", "vault": self._vault},
            name="camera",
            daemon=True,
        )
        reader.start()
        self._stages()  # before the first word to the service, which then expects one every second
        while not self._stop.is_set():
            self._obey()
            self._step()
            self._tell()
            self._outbox.flush()
        self._end()

    def _open_vault(self, paused: bool) -> VaultWriter | None:
        """Seals the camera's own packets in this process: none leaves it otherwise."""
        record, config = self._camera.record, self._config
        if record.vault is None:
            return None
        state = Path(config.state_dir) if config.state_dir else default_path()
        vault = VaultWriter(
            record.vault.recipients,
            vault_of(state, record, self._spec.name),
            self._spec.name,
            lambda told: self._outbox.put(link.encode_json(Kind.SEALED, told)),
        )
        vault.paused = paused
        return vault

    # What comes in

    def _listen(self) -> None:
        """Hear the service. When it is gone, so is its worker, whatever the other threads are stuck in."""
        decoder = link.Decoder()
        try:
            while data := _receive(self._service):
                for message in decoder.feed(data):
                    if message.kind is Kind.STOP:
                        self._stop.set()
                    self._orders.append(message)
        except (OSError, link.LinkError) as error:
            log.error("the link to the service broke: %s", error)
        finally:  # whatever it was: a worker that hears nothing would go on with what it knows
            os._exit(1)

    def _obey(self) -> None:
        while self._orders:
            order = self._orders.popleft()
            if order.kind is Kind.KEY:
                self._outlet.request_key(order.channel)
            elif order.kind is Kind.STILL:
                self._still_wanted = True
            elif order.kind is Kind.ORDER:
                self._take_order(link.Order.decode(order.payload))

    def _take_order(self, order: link.Order) -> None:
        """Obey the service's newest word from the next painted frame on."""
        self._order = order
        if self._vault is not None:
            self._vault.paused = not order.enabled
        if not order.enabled:
            self._rest()
        if order.rules is not None:
            self._policy.rules = order.rules
            self._tracks.zones = zones_of(order.rules, self._spec.name)
        if self._pipeline is not None:
            self._recognise(self._pipeline)

    def _recognise(self, stages: Pipeline) -> None:
        """Recognise whom the rules ask for. Without a recogniser everybody stays unknown, which never covers less."""
        try:
            stages.recognition = assembly.recognition(self._config.faces, self._policy.rules, self._order.members)
        except AnonymizerError as error:
            stages.recognition = None
            self._notice("error", f"nobody is recognised: {error}")

    def _step(self) -> None:
        item = self._intake.take(0.1)
        if isinstance(item, Frame):
            self._frame(item)
        elif isinstance(item, AccessUnit):
            if self._order.enabled:
                self._outlet.sound(item)
        elif isinstance(item, Connected):
            self._online, self._loss = True, ""
            if item.audio is not None:
                sound = item.audio
                self._audio = {"codec": sound.codec, "rate": sound.rate, "channels": sound.channels}
                self._audio["config"] = sound.config.hex()
            self._last_frame_time = None
        elif isinstance(item, CameraLost):
            self._lost(item)
        now = time.monotonic()
        if now - self._painter.served > _PATIENCE and now - self._last_notice > 1 / _NOTICE_RATE:
            self._show_notice(now)

    def _lost(self, error: CameraLost) -> None:
        if self._online or self._loss != error.loss.value:  # told once, not at every try
            self._notice("warning", str(error))
        self._online, self._loss = False, error.loss.value
        self._rest()

    def _rest(self) -> None:
        """No more pictures come for now: serve what waits, where the camera may be shown."""
        if self._pipeline is not None:
            self._finish(self._pipeline, self._pipeline.rest())
        self._painter.lost()

    # The way of a frame

    def _frame(self, frame: Frame) -> None:
        began = time.monotonic()
        if not self._order.enabled:
            return
        self._size = frame.planes.width, frame.planes.height
        interval = 0.0
        if self._last_frame_time is not None and 0 < frame.time - self._last_frame_time < 2:
            interval = frame.time - self._last_frame_time
            self._outlet.rate += 0.05 * (1 / interval - self._outlet.rate)
        self._last_frame_time = frame.time
        if self._load.level is Level.HALF_RATE and frame.index % 2:
            self._skipped += 1
            return
        self._anonymise(frame)
        worked = max(time.monotonic() - began, self._painter.seconds)
        dropped = self._intake.dropped
        interval *= 2 if self._load.level is Level.HALF_RATE else 1
        level = self._load.note(time.monotonic(), worked, interval, dropped > self._dropped_before)
        self._dropped_before = dropped
        if level is not self._level_before and self._pipeline is not None:
            self._level_before = level
            size = self._config.faces.size
            self._pipeline.limit_detector(size if level is Level.FULL else min(size, 640))
            self._pipeline.replacing = level < Level.NO_REPLACEMENT
            self._notice("warning", level.meaning or "no longer overloaded")

    def _anonymise(self, frame: Frame) -> None:
        """Hand on the frames whose faces are known now, or this one to be covered whole with the reason said in it."""
        problem = "" if self._order.rules is not None else "the rules cannot be read"
        stages = self._stages()
        if stages is None:
            problem = problem or self._pipeline_problem
        elif self._load.level is Level.COVERED:
            problem = problem or Level.COVERED.meaning
        if stages is not None:
            self._finish(stages, stages.rest() if problem else stages.find(frame))
        if problem:
            self._painter.cover(frame, problem)

    def _finish(self, stages: Pipeline, found: list[Ready]) -> None:
        """Serve frames; of a camera that is switched off they are forgotten."""
        for one in found if self._order.enabled else ():
            self._painter.frame(stages, one)

    def _stages(self) -> Pipeline | None:
        """The pipeline; while it cannot be built, it is tried again now and then, and frames are covered whole."""
        now = time.monotonic()
        if self._pipeline is None and now - self._pipeline_tried > _RETRY_MODELS:
            self._pipeline_tried = now
            try:
                self._pipeline = assembly.pipeline(
                    self._config, self._policy, camera=self._spec.name, epoch=self._spec.epoch
                )
                self._pipeline.newcomers = _NEWCOMERS
                self._pipeline_problem = ""
                self._recognise(self._pipeline)
            except AnonymizerError as error:
                if str(error) != self._pipeline_problem:
                    self._notice("error", str(error))
                self._pipeline_problem = str(error)
        return self._pipeline

    def _show_notice(self, now: float) -> None:
        """A drawn picture instead of silence: recorders and players stay connected, and people know."""
        self._last_notice = now
        utc = time.time() - self._delay  # or the camera's pictures, which waited, would come out of order
        self._painter.notice(self._drawn(utc), utc)

    def _drawn(self, utc: float) -> av.VideoFrame:
        why = "switched off" if not self._order.enabled else self._loss or "no picture yet"
        return notice(*self._size, self._spec.name, ["camera unavailable", why], utc)

    # What goes out beside the pictures

    def _tell(self) -> None:
        if self._still_wanted:
            self._still_wanted = False
            shown = self._painter.shown
            planes = None if shown is None else shown.planes
            if planes is None:
                planes = planes_of(self._drawn(time.time()))
            self._outbox.put(link.encode(Kind.STILL, jpeg(planes)))
        now = time.monotonic()
        if now - self._last_state >= _STATE_EVERY:
            self._last_state = now
            self._outbox.put(link.encode_json(Kind.STATE, self._state(now)))
        if now - self._last_trim >= _TRIM_EVERY:
            self._last_trim = now
            runtime.give_back()
            heap.trim()

    def _state(self, now: float) -> dict[str, Any]:
        utc = time.time()
        recent = [t for t in tuple(self._outlet.served) if t > utc - 2]
        covered_at, covered = self._painter.covered
        covered = covered if now - covered_at < _DEGRADED_FOR else ""
        reason = covered or self._load.level.meaning
        latencies = tuple(self._outlet.latencies)
        counters = self._counters
        counters.frames_in = self._intake.received
        counters.frames_dropped = self._intake.dropped + self._skipped
        counters.queue_drops = self._outbox.dropped
        if self._pipeline is not None:
            counters.detector_seconds = self._pipeline.seconds["detect and track"]
        shown = self._painter.shown
        streaming = self._online and now - self._painter.served < 2
        return {
            "state": {
                "online": self._online,
                "protected": True,
                "degraded": bool(reason),
                "reason": self._loss or reason,
                "fps": len(recent) / 2,
                "latency_ms": 1000 * statistics.median(latencies) if latencies else 0.0,
                "faces": len(shown.faces) if streaming and shown is not None else 0,
            },
            "counters": counters.to_json(),
            "size": list(self._size),
            "clock": shown.clock if shown is not None else "",
            "audio": self._audio,
        }

    def _notice(self, level: str, text: str) -> None:
        self._outbox.put(link.encode_json(Kind.NOTICE, {"level": level, "text": text}))

    def _end(self) -> None:
        """Serve what waits, say what ended, and give the service a moment to take it."""
        self._rest()
        self._painter.close()
        if self._vault is not None:
            self._vault.close()
        deadline = time.monotonic() + 2
        while not self._outbox.empty and time.monotonic() < deadline:
            self._outbox.flush()
            time.sleep(0.01)


def _receive(service: socket.socket) -> bytes:
    """Wait for bytes on a socket that is otherwise never waited for."""
    select.select([service], [], [])
    return service.recv(1 << 16)
