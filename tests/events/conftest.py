"""A real broker on a free port, and somebody else who listens to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Broker:
    """mosquitto, started and stopped at will. lines: of its configuration, beside the listener."""

    def __init__(self, binary: str, folder: Path, lines: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.binary = binary
        self.config = folder / f"mosquitto-{self.port}.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        self.config.write_text(f"{user}listener {self.port} 127.0.0.1\n{lines}\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Broker:
        self.process = subprocess.Popen(
            [self.binary, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens)
        return self

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Observer:
    """Another client: keeps what it hears, and can say something."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(**login)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda *_: self._client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(20)

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload), message.retain))

    def say(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)

    def of(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in tuple(self.heard) if heard == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def mosquitto() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = "needs the broker mosquitto: apt-get install mosquitto"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def start_broker(mosquitto: str, tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts a broker with the given lines of configuration."""
    started: list[Broker] = []

    def start(lines: str = "allow_anonymous true") -> Broker:
        started.append(Broker(mosquitto, tmp_path, lines))
        return started[-1].start()

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def observe() -> Iterator[Callable[..., Observer]]:
    made: list[Observer] = []

    def observer(*arguments: object, **more: object) -> Observer:
        made.append(Observer(*arguments, **more))  # type: ignore[arg-type]
        return made[-1]

    yield observer
    for each in made:
        each.close()
