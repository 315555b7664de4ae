"""All cameras: their workers, the RTSP server, MQTT, reload and shutdown. One process, one asyncio loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from anonymizer import assembly, config
from anonymizer.config import CameraSettings, Config
from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.events.client import MqttClient
from anonymizer.events.state import CameraState
from anonymizer.events.topics import Command, SetEnabled, Topics
from anonymizer.link import MAIN, SUB
from anonymizer.publish import AccessEvent, Server, Stream, User
from anonymizer.supervisor import Supervisor
from anonymizer.worker import Spec

log = logging.getLogger(__name__)

_DRAIN = 5.0


class Service:
    """``run`` until ``shut_down`` is called or SIGTERM comes. path: the configuration file, read again on SIGHUP.

    ConfigError, PublishError where it cannot start.
    """

    def __init__(self, settings: Config, path: Path | None = None) -> None:
        if not settings.cameras:
            raise ConfigError("no cameras are configured; `anonymizer config example` shows how")
        self.settings = settings
        self.path = path
        self.rtsp = Server(settings.rtsp, audit=self._access)
        self.cameras: dict[str, Supervisor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._mqtt: MqttClient | None = None
        self._stop = asyncio.Event()
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
            self._start_mqtt(loop)
            for name in self.settings.cameras:
                self._start(name)
            _tell_systemd("READY=1")
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
        await self.rtsp.stop()
        if self._mqtt is not None:
            self._mqtt.stop(1.0)

    # Cameras

    def _mount(self, name: str) -> None:
        camera = self.settings.cameras[name]
        users = [User(user, password.reveal()) for user, password in camera.users.items()]
        streams = {MAIN: Stream(name, request_key=lambda: self.cameras[name].request_key(MAIN))}
        if camera.sub is not None:
            streams[SUB] = Stream(f"{name}/sub", request_key=lambda: self.cameras[name].request_key(SUB))
        for stream in streams.values():
            self.rtsp.mount(stream.name, stream, users)
        self.cameras[name] = Supervisor(name, streams, lambda epoch: self._spec(name, epoch), self)

    def _start(self, name: str) -> None:
        self._tasks[name] = asyncio.create_task(self.cameras[name].run(), name=name)

    def _spec(self, name: str, epoch: int) -> Spec:
        return Spec(name, self.settings, epoch, self._rules(name), self.cameras[name].state.enabled)

    def _rules(self, name: str) -> tuple[str, str] | None:
        """The rules of a camera; None where they cannot be read, and its pictures are then covered whole."""
        camera: CameraSettings = self.settings.cameras[name]
        try:
            chosen = camera.rules or self.settings.rules
            assembly.rules(chosen)
            return assembly.rules_text(chosen)
        except AnonymizerError as error:
            self.notice(name, "error", str(error))
            return None

    async def reload(self) -> None:
        """Read the configuration and the rules again. What is wrong changes nothing; changed cameras start anew."""
        _tell_systemd("RELOADING=1")
        try:
            new = self.settings if self.path is None else config.load(self.path)
            if (new.rtsp, new.mqtt) != (self.settings.rtsp, self.settings.mqtt):
                log.warning("reload: changes of rtsp and mqtt need a restart and are left out")
                new = replace(new, rtsp=self.settings.rtsp, mqtt=self.settings.mqtt)
            await self._apply(new)
        except AnonymizerError as error:
            log.error("reload: nothing is changed: %s", error)
        _tell_systemd("READY=1")

    async def _apply(self, new: Config) -> None:
        old, self.settings = self.settings, new
        shared = replace(old, cameras={}) != replace(new, cameras={})
        for name in [n for n in old.cameras if n not in new.cameras or shared or old.cameras[n] != new.cameras[n]]:
            await self.cameras[name].stop()
            self._tasks.pop(name).cancel()
            self.cameras.pop(name)
            for path in (name, f"{name}/sub"):
                self.rtsp.unmount(path)
        for name in new.cameras:
            if name in self.cameras:
                self.cameras[name].order(rules=self._rules(name))
            else:
                self._mount(name)
                self._start(name)

    # Listener of the workers

    def event(self, camera: str, event: dict[str, Any]) -> None:
        if self._mqtt is not None:
            self._mqtt.send(self._mqtt.topics.event(event))

    def changed(self, camera: str, state: CameraState) -> None:
        if self._mqtt is not None:
            self._mqtt.send(*self._mqtt.topics.states(camera, state))

    def notice(self, camera: str, level: str, text: str) -> None:
        log.log(logging.getLevelNamesMapping().get(level.upper(), logging.WARNING), "%s: %s", camera, text)

    def _access(self, event: AccessEvent) -> None:
        log.info("rtsp: %s %s from %s: %s", event.kind, event.user or "nobody", event.address, event.path)

    # MQTT

    def _start_mqtt(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.settings.mqtt is None:
            return
        topics = Topics(self.settings.mqtt.prefix, tuple(self.settings.cameras))
        self._mqtt = MqttClient(self.settings.mqtt, topics, self._obey, call=loop.call_soon_threadsafe)
        self._mqtt.start()

    def _obey(self, command: Command) -> None:
        assert self._mqtt is not None
        if isinstance(command, SetEnabled):
            self.cameras[command.camera].order(enabled=command.on)
            self.cameras[command.camera].set(enabled=command.on)
            return
        refusal = self._mqtt.topics.refusal(command.topic, ConfigError("this command is not supported"))
        if refusal is not None:
            self._mqtt.send(refusal)


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
