"""All cameras: their workers, the RTSP server, MQTT, reload and shutdown. One process, one asyncio loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from anonymizer import checks, config
from anonymizer.config import Config
from anonymizer.control import Control
from anonymizer.enrolment import Enrolment
from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.events import homeassistant
from anonymizer.events.client import MqttClient
from anonymizer.events.state import RULES, CameraState
from anonymizer.events.topics import Command, Topics
from anonymizer.link import MAIN, SUB, Order
from anonymizer.policy.overlay import fingerprint
from anonymizer.publish import Stream
from anonymizer.publish.server import AccessEvent, Server
from anonymizer.record.audit import Audit
from anonymizer.record.keys import BANK
from anonymizer.record.recorder import Recorder
from anonymizer.settings import Secret
from anonymizer.statedir import StateDir, default_path
from anonymizer.supervisor import Supervisor
from anonymizer.web.server import HttpServer, View
from anonymizer.worker import Spec

log = logging.getLogger(__name__)

_DRAIN = 5.0
_WRITE_EVERY = 2.0  # seconds between two tries while the disk takes nothing
_ANNOUNCED = "announced.json"
_NEED_RESTART = ("rtsp", "http", "mqtt", "state_dir")


class Service:
    """``run`` until ``shut_down`` is called or SIGTERM comes. path: the configuration file, read again on SIGHUP.

    ConfigError, PublishError where it cannot start.
    """

    def __init__(self, settings: Config, path: Path | None = None) -> None:
        if not settings.cameras:
            raise ConfigError("no cameras are configured; `anonymizer config example` shows how")
        self.settings = settings
        self.path = path
        state = StateDir(Path(settings.state_dir) if settings.state_dir else default_path())
        self._state = state
        self.audit = Audit(state)
        self.recorder = Recorder(state, self._recorded)
        self.control = Control(settings, state, self.audit)
        self._told_rules: dict[str, str] = {}
        self._enrolment = Enrolment(state)
        self.rtsp = Server(settings.rtsp, audit=self._access)
        self.http = HttpServer(settings.http, _Proxy(self), audit=self._access, guesses=self.rtsp.guesses)
        self.cameras: dict[str, Supervisor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._mqtt: MqttClient | None = None
        self._announced: set[str] = set()
        self._others: list[asyncio.Task[None]] = []
        self._recording: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.ready = asyncio.Event()
        """Set once everything listens and the workers are started."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.shut_down)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self.reload()))
        try:
            for name in self.settings.cameras:
                self._mount(name)
            await self.rtsp.start()
            await self.http.start()
            self._start_mqtt(loop)
            for name in self.settings.cameras:
                self._start(name)
            self.audit.often("service started", cameras=list(self.settings.cameras))
            self._tell_rules()
            _tell_systemd("READY=1")
            self._others.append(asyncio.create_task(self._write_later()))
            self.ready.set()
            await self._stop.wait()
        finally:
            _tell_systemd("STOPPING=1")
            await self._drain()

    def shut_down(self) -> None:
        self._stop.set()

    async def _drain(self) -> None:
        await asyncio.gather(*(camera.stop(_DRAIN - 2) for camera in self.cameras.values()))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.recorder.stop()
        for other in (*self._others, self._recording):
            if other is not None:
                other.cancel()
        await self.http.stop()
        await self.rtsp.stop()
        if self._mqtt is not None:
            self._mqtt.stop(1.0)
            if not self._mqtt.outbox.forgetting:
                self._remember(set(self.settings.cameras))
        self.audit.often("service stopped")
        self.audit.close()

    # Cameras

    def _mount(self, name: str) -> None:
        camera = self.settings.cameras[name]
        users = checks.users(camera)
        streams = {MAIN: Stream(name, request_key=lambda: self.cameras[name].request_key(MAIN))}
        if camera.sub is not None:
            streams[SUB] = Stream(f"{name}/sub", request_key=lambda: self.cameras[name].request_key(SUB))
        for stream in streams.values():
            self.rtsp.mount(stream.name, stream, users)
        self.cameras[name] = Supervisor(name, streams, lambda epoch: self._spec(name, epoch), self)
        if camera.record.enabled or camera.record.vault is not None:
            self.recorder.add(name, streams[MAIN], camera.record, lambda: self.cameras[name].clock)
            if self._recording is None:  # its process costs memory that a mere proxy need not spend
                self._recording = asyncio.create_task(self.recorder.run(), name="recorder")

    def _start(self, name: str) -> None:
        self._tasks[name] = asyncio.create_task(self.cameras[name].run(), name=name)

    def _spec(self, name: str, epoch: int) -> Spec:
        settings, bank = self.settings, self._state.path / BANK
        if settings.identity.key is None and bank.is_file():
            identity = replace(settings.identity, key=Secret(f"file:{bank}"))
            settings = replace(settings, identity=identity)
        return Spec(name, settings, epoch, self._word(name))

    def _word(self, name: str) -> Order:
        """What holds on a camera now."""
        rules = self.control.cameras[name]
        try:
            members = tuple(self._enrolment.members())
        except ConfigError as error:
            log.error("nobody is recognised: %s", error)
            members = ()
        return Order(rules.rules, rules.overlay.enabled, members)

    def _order(self, name: str) -> None:
        """Tell a camera's worker the newest rules and switches, and the broker what now holds."""
        self.cameras[name].order(self._word(name))
        self._show_rules(name)

    def _show_rules(self, name: str) -> None:
        rules, camera = self.control.cameras[name], self.cameras[name]
        method = RULES if rules.overlay.method is None else str(rules.overlay.method)
        camera.set(
            enabled=rules.overlay.enabled, privacy=rules.overlay.privacy, method=method, profile=self.control.profile
        )
        if self._mqtt is not None:
            digest = "" if rules.rules is None else fingerprint(rules.rules)
            self._mqtt.send(self._mqtt.topics.rules_state(name, rules.overlay.version, digest))

    def _tell_rules(self) -> None:
        """Tell the audit which rules came into force, from files: what comes over MQTT it is told before."""
        for name, camera in self.control.cameras.items():
            digest = "" if camera.rules is None else fingerprint(camera.rules)
            if self._told_rules.get(name) != digest:
                self._told_rules[name] = digest
                file = self.settings.cameras[name].rules or self.settings.rules
                self.audit.often("rules in force", camera=name, file=file, profile=self.control.profile, hash=digest)

    async def reload(self) -> None:
        """Read the configuration, the rules and the certificates again. What is wrong changes nothing; changed cameras
        start anew."""
        async with self._reloading:
            _tell_systemd("RELOADING=1")
            try:
                new = self.settings if self.path is None else config.load(self.path)
                kept = {name: getattr(self.settings, name) for name in _NEED_RESTART}
                if any(getattr(new, name) != value for name, value in kept.items()):
                    log.warning("reload: changes of %s need a restart and are left out", ", ".join(_NEED_RESTART))
                    new = replace(new, **kept)
                for name in new.cameras:
                    for _, check in checks.of_camera(new, name, self.rtsp):
                        check()
                self.http.check_certificate()  # before anything is changed; RTSP's is checked when it is read
                self.rtsp.reload_certificate()
                self.http.reload_certificate()
                await self._apply(new)
            except AnonymizerError as error:
                log.error("reload: nothing is changed: %s", error)
            _tell_systemd("READY=1")

    async def _apply(self, new: Config) -> None:
        old, self.settings = self.settings, new
        shared = replace(old, cameras={}, rules="", profiles={}) != replace(new, cameras={}, rules="", profiles={})
        self.control.configure(new)
        for name in [n for n in old.cameras if n not in new.cameras or shared or old.cameras[n] != new.cameras[n]]:
            await self.cameras[name].stop()
            self._tasks.pop(name).cancel()
            self.cameras.pop(name)
            self.recorder.remove(name)
            for path in (name, f"{name}/sub"):
                self.rtsp.unmount(path)
        for name in [n for n in old.cameras if n not in new.cameras]:
            self._forget(name)
        if self._mqtt is not None:
            self._mqtt.topics = self._topics()
        for name, camera in new.cameras.items():
            if name in self.cameras:
                for path in {name, f"{name}/sub"} & self.rtsp.mounts.keys():  # a password's file may be another's now
                    self.rtsp.mount(path, self.rtsp.mounts[path].stream, checks.users(camera))
                self._order(name)
            else:
                self._mount(name)
                self._start(name)
        self._tell_rules()
        self._announce(list(new.cameras))

    # Listener of the workers

    def event(self, camera: str, event: dict[str, Any]) -> None:
        self.recorder.event(camera, event)
        if self._mqtt is not None:
            self._mqtt.send(self._mqtt.topics.event(event))

    def changed(self, camera: str, state: CameraState) -> None:
        if (state.degraded and state.reason != self.trouble(camera)) or not state.online:
            self.audit.often("picture degraded" if state.online else "camera away", camera=camera, reason=state.reason)
        if self._mqtt is not None:
            self._mqtt.send(*self._mqtt.topics.states(camera, state))

    def notice(self, camera: str, level: str, text: str) -> None:
        log.log(logging.getLevelNamesMapping().get(level.upper(), logging.WARNING), "%s: %s", camera, text)
        self.audit.often("camera notice", camera=camera, level=level, text=text[:1000])

    def sealed(self, camera: str, told: dict[str, Any]) -> None:
        self.recorder.sealed(camera, told)

    def trouble(self, camera: str) -> str:
        return self.recorder.problems.get(camera) or self.audit.problem or self.control.problem

    async def _write_later(self) -> None:
        """What was obeyed while the disk took nothing."""
        while True:
            await asyncio.sleep(_WRITE_EVERY)
            if self.control.problem:
                self.control.write()

    def _access(self, event: AccessEvent) -> None:
        user, path = _printable(event.user), _printable(event.path)
        log.info("%s %s from %s: %s", event.kind, user or "nobody", event.address, path)
        self.audit.often(f"access {event.kind}", user=user, address=event.address, path=path)

    def _recorded(self, camera: str, what: str, said: dict[str, Any]) -> None:
        log.warning("%s: %s: %s", camera, what, said)
        self.audit.often(what, camera=camera, **said)

    # What the HTTP server asks

    def views(self) -> dict[str, View]:
        """Every camera as the HTTP server shows it."""
        watching = Counter(client.path.partition("/")[0] for client in self.rtsp.clients())
        for name, camera in self.cameras.items():
            camera.set(clients=watching[name])
        mounts = self.rtsp.mounts
        return {name: View(camera.state, camera.counters, mounts[name].users) for name, camera in self.cameras.items()}

    def totals(self) -> dict[str, float]:
        """The service's own counters, for the metrics."""
        counters = self.rtsp.counters
        return {
            "rtsp_connections": counters.connections,
            "rtsp_wrong_passwords": counters.wrong_passwords,
            "rtsp_stalled_clients": counters.stalled,
            "worker_restarts": sum(camera.restarts for camera in self.cameras.values()),
            "mqtt_events_dropped": 0 if self._mqtt is None else self._mqtt.outbox.dropped,
        }

    # MQTT

    def _start_mqtt(self, loop: asyncio.AbstractEventLoop) -> None:
        mqtt = self.settings.mqtt
        if mqtt is None:
            return
        self._mqtt = MqttClient(mqtt, self._topics(), self._obey, call=loop.call_soon_threadsafe)
        self._mqtt.start()
        self._announced = set(self._state.read(_ANNOUNCED) or ())
        for name in self._announced - self.settings.cameras.keys():  # removed while the service was off
            self._forget(name)
        self._announce(list(self.settings.cameras))
        home = mqtt.homeassistant
        if home.discovery and home.still_interval:
            self._others.append(asyncio.create_task(self._send_stills(home.still_interval)))

    def _topics(self) -> Topics:
        assert self.settings.mqtt is not None
        return Topics(self.settings.mqtt.prefix, tuple(self.settings.cameras), tuple(self.settings.profiles))

    def _announce(self, names: list[str]) -> None:
        """Tell the broker of cameras, and of what holds on them."""
        if self._mqtt is None:
            return
        topics, home = self._mqtt.topics, self._mqtt.settings.homeassistant
        self._remember(self._announced.union(names))
        self._mqtt.send(topics.profile_state(self.control.profile))
        for name in names:
            self._show_rules(name)
            if home.discovery:
                device = homeassistant.device(
                    topics,
                    name,
                    floor=self.control.cameras[name].floor,
                    profiles=self.control.profiles_offered(),
                    stills=home.still_interval > 0,
                    discovery_prefix=home.discovery_prefix,
                )
                self._mqtt.send(device)

    def _forget(self, name: str) -> None:
        """Remove what the broker keeps of a camera that is no longer configured."""
        if self._mqtt is not None:
            topics, home = self._mqtt.topics, self._mqtt.settings.homeassistant
            gone = homeassistant.forgotten(topics, name, home.discovery_prefix)
            self._mqtt.send(*topics.forgotten(name), gone)

    def _remember(self, names: set[str]) -> None:
        """Note, for the next start, the cameras that the broker keeps something of."""
        if names != self._announced:
            try:
                self._state.write(_ANNOUNCED, sorted(names))
                self._announced = names
            except OSError as error:
                log.warning("%s cannot be written: %s", self._state.path / _ANNOUNCED, error.strerror)

    async def _send_stills(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            for name in list(self.cameras):
                camera = self.cameras.get(name)  # a reload may have removed it meanwhile
                picture = None if camera is None else await camera.still()
                if picture is not None and self._mqtt is not None:
                    self._mqtt.send(self._mqtt.topics.still(name, picture))

    def _obey(self, command: Command) -> None:
        assert self._mqtt is not None
        try:
            changed = self.control.obey(command, self._mqtt.topics, time.time())
        except AnonymizerError as error:
            log.warning("refused over MQTT: %s: %s", command.topic, error)
            refusal = self._mqtt.topics.refusal(command.topic, error)
            if refusal is not None:
                self._mqtt.send(refusal)
            for name in self.cameras:  # so that a switch in somebody's dashboard goes back
                self._mqtt.send(*self._mqtt.topics.states(name, self.cameras[name].state), again=True)
            return
        for name in changed:
            if name in self.cameras:  # a reload that goes on mounts the others, with the rules that hold then
                self._order(name)
        self._mqtt.send(self._mqtt.topics.profile_state(self.control.profile))


def _printable(text: str) -> str:
    """What a stranger says, fit for a line in the log: it cannot begin another."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:200])


class _Proxy:
    """The service as the HTTP server sees it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def cameras(self) -> Mapping[str, View]:
        return self._service.views()

    async def still(self, camera: str) -> bytes | None:
        known = self._service.cameras.get(camera)
        return None if known is None else await known.still()

    def totals(self) -> Mapping[str, float]:
        return self._service.totals()


def _tell_systemd(state: str) -> None:
    """sd_notify(3), where a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect("\0" + address[1:] if address[0] == "@" else address)
            channel.sendall(state.encode())
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", state, error)
