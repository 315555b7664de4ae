"""Rules by MQTT while the stream runs."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.ingest.picture import planes_of
from anonymizer.policy.envelope import seal
from tests.conftest import need
from tests.live import rig
from tests.live.rig import Broker, Camera, Proxy

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PLAYER = 0.15
"""Seconds that a player needs to show a picture, on top of what the encoder may take: a picture's time in its parser,
and the network."""


class Said:
    """What the broker says, by topic."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str]] = []
        self._process = subprocess.Popen(
            ["mosquitto_sub", "-p", str(port), "-v", "-t", "anonymizer/#"], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            topic, _, text = line.rstrip("\n").partition(" ")
            self.messages.append((topic, text))

    def about(self, topic: str, since: int = 0) -> list[str]:
        return [text for said, text in self.messages[since:] if said == f"anonymizer/{topic}"]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Watcher:
    """A player that notes when which kind of picture came: blank or not."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[float, bool]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(url,), daemon=True)
        self._thread.start()

    def _watch(self, url: str) -> None:
        options = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
        with av.open(url, options=options, timeout=(15, 10)) as player:
            video = player.streams.video[0]
            video.thread_type = "SLICE"
            for frame in player.decode(video):
                luma = planes_of(frame).y
                self.seen.append((time.monotonic(), int(luma.max()) - int(luma.min()) <= 8))
                if self._stop.is_set():
                    return

    def first_after(self, moment: float, blank: bool) -> float:
        """When the first such picture came after a moment."""
        return float(
            rig.wait_for(
                f"a picture with blank={blank}",
                lambda: next((at for at, one in list(self.seen) if at > moment and one is blank), None),
                10,
            )
        )

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def whole(shared: Path, tmp_path: Path) -> Iterator[tuple[Proxy, Broker, Said, Watcher]]:
    need("ffmpeg", "mosquitto", "mosquitto_sub", "mosquitto_pub")
    rig.need_gst_server()
    clip = rig.loop(shared / "footage" / "video" / "asl" / "walk.mkv", tmp_path / "clip.mp4", 40)
    camera, broker = Camera(gate=clip), Broker(tmp_path)
    key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    proxy = Proxy(
        tmp_path,
        rules="gdpr-default",
        faces={"lookahead": 0.5},
        mqtt={"host": "127.0.0.1", "port": broker.port, "may_relax": True, "relax_key": key},
        cameras={"gate": {"source": {"url": camera.url("gate")}}},
    )
    said = Said(broker.port)
    watcher = None
    try:
        proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
        watcher = Watcher(proxy.url("gate"))
        rig.wait_for("pictures", lambda: len(watcher.seen) > 20)
        yield proxy, broker, said, watcher
    finally:
        if watcher is not None:
            watcher.stop()
        said.stop()
        proxy.stop()
        broker.stop()
        camera.kill()


def publish(broker: Broker, topic: str, payload: str) -> float:
    """Send a command; returns when it left."""
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", f"anonymizer/{topic}", "-s"]
    subprocess.run(command, input=payload, text=True, check=True)
    return time.monotonic()


def test_a_command_reaches_the_encoder_within_a_fifth_of_a_second(whole: tuple[Proxy, Broker, Said, Watcher]) -> None:
    """Pictures that wait in the look-ahead obey it too: half a second of them waits here."""
    _, broker, _, watcher = whole
    delays = []
    for _ in range(5):
        for command, blank in (("ON", True), ("OFF", False)):
            sent = publish(broker, "gate/privacy/set", command)
            delays.append(watcher.first_after(sent - 0.02, blank) - sent)
            time.sleep(0.3)
    assert sorted(delays)[len(delays) // 2] < 0.2 + PLAYER, delays


def test_rules_are_validated_before_they_act(whole: tuple[Proxy, Broker, Said, Watcher]) -> None:
    proxy, broker, said, _ = whole
    before = json.loads(said.about("gate/rules/state")[-1])
    since = len(said.messages)
    publish(broker, "gate/rules/set", "default: solid\nrules:\n  - name: x\n    then: kep\n")
    answer = json.loads(rig.wait_for("the refusal", lambda: said.about("gate/rules/error", since))[-1])
    assert answer["problems"][0]["line"] == 4
    assert json.loads(said.about("gate/rules/state")[-1]) == before
    publish(broker, "gate/rules/set", "default: {action: solid, margin: 0.5}\n")
    rig.wait_for("the new rules", lambda: json.loads(said.about("gate/rules/state")[-1])["version"] > before["version"])
    events = rig.wait_for("events of solid", lambda: [e for e in said.about("events") if '"method":"solid"' in e])
    assert events
    assert proxy.process.poll() is None


@pytest.mark.parametrize("kind", ["unsigned", "expired", "replayed"])
def test_relaxations_need_a_fresh_signature(whole: tuple[Proxy, Broker, Said, Watcher], kind: str) -> None:
    proxy, broker, said, _ = whole
    topic, now = "anonymizer/gate/method/set", time.time()
    expires = now - 5 if kind == "expired" else now + 60
    envelope: Any = "blur" if kind == "unsigned" else seal(KEY, topic, b"blur", "nonce-0123456789", expires).decode()
    if kind == "replayed":
        publish(broker, "gate/method/set", envelope)
        proxy.wait_until("gate", method="blur")
        publish(broker, "gate/method/set", "rules")
        proxy.wait_until("gate", method="rules")
    since = len(said.messages)
    publish(broker, "gate/method/set", envelope)
    answer = json.loads(rig.wait_for("the refusal", lambda: said.about("gate/rules/error", since))[-1])
    assert {"unsigned": "laxer", "expired": "expired", "replayed": "used before"}[kind] in answer["error"]
    assert proxy.state("gate")["method"] == "rules"


def test_switched_off_shows_a_notice_and_never_the_camera(whole: tuple[Proxy, Broker, Said, Watcher]) -> None:
    proxy, broker, _, watcher = whole
    publish(broker, "gate/enabled/set", "OFF")
    proxy.wait_until("gate", enabled=False)
    time.sleep(2)
    count = len(watcher.seen)
    time.sleep(2)
    assert 4 <= len(watcher.seen) - count <= 16  # the notice comes five times a second, the camera thirty
    publish(broker, "gate/enabled/set", "ON")
    proxy.wait_until("gate", enabled=True, fps=lambda fps: fps and fps > 10)
