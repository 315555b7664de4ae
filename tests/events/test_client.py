"""The MQTT client against mosquitto: both versions, TLS, refusals, and a broker that comes and goes."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import gc
import ipaddress
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from anonymizer.errors import ConfigError
from anonymizer.events.client import PENDING, WINDOW, MqttClient
from anonymizer.events.settings import MqttSettings
from anonymizer.events.state import CameraState
from anonymizer.events.topics import Command, Delivery, Message, SetPrivacy, SetRules, Topics
from anonymizer.settings import Secret, build
from anonymizer.yamlfile import InvalidFile, parse

TOPICS = Topics("anonymizer", ("gate",), ("night",))
PRIVACY = "anonymizer/gate/privacy/set"

Connect = Callable[..., MqttClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Starts a client of the broker at a port; commands go into ``client.commands``."""
    made: list[MqttClient] = []

    def start(port: int, *, call: Any = None, **settings: Any) -> MqttClient:
        commands: list[Command] = []
        more = {} if call is None else {"call": call}
        given = MqttSettings(**{"host": "127.0.0.1", "port": port, "keepalive": 5} | settings)
        client = MqttClient(given, TOPICS, commands.append, **more)
        client.commands = commands  # type: ignore[attr-defined]
        client.start()
        made.append(client)
        return client

    yield start
    for client in made:
        client.stop(0.5)


def event(number: int) -> Message:
    return TOPICS.event({"number": number})


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_states_events_and_commands(
    version: str, start_broker: Any, observe: Any, connect: Connect, eventually: Any
) -> None:
    broker = start_broker()
    observer = observe(broker.port)
    client: Any = connect(broker.port, version=version)
    client.send(*TOPICS.states("gate", CameraState(online=True, faces=3)), event(1), event(2))
    eventually(lambda: len(observer.of("anonymizer/events")) == 2)
    assert client.connected
    assert [json.loads(e)["number"] for e in observer.of("anonymizer/events")] == [1, 2]
    assert observer.of("anonymizer/available") == [b"online"]

    late = observe(broker.port, "anonymizer/gate/state")
    eventually(lambda: late.heard)
    assert json.loads(late.heard[0][1])["faces"] == 3
    assert late.heard[0][2], "the state is retained"
    assert not observe(broker.port, "anonymizer/events").heard

    observer.say(PRIVACY, "ON")
    observer.say("anonymizer/gate/rules/set", "default: solid")
    eventually(lambda: len(client.commands) == 2)
    assert client.commands == [
        SetPrivacy(PRIVACY, "gate", True),
        SetRules("anonymizer/gate/rules/set", "gate", "default: solid"),
    ]

    client.stop()
    eventually(lambda: observer.of("anonymizer/available") == [b"online", b"offline"])


def test_a_command_that_is_not_understood_is_answered(
    start_broker: Any, observe: Any, connect: Connect, eventually: Any
) -> None:
    broker = start_broker()
    observer = observe(broker.port)
    observer.say(PRIVACY, "OFF", retain=True)
    client: Any = connect(broker.port)
    eventually(lambda: observer.of("anonymizer/gate/rules/error"))
    assert "retain" in json.loads(observer.of("anonymizer/gate/rules/error")[0])["error"]
    observer.say("anonymizer/gate/method/set", "keep")
    eventually(lambda: len(observer.of("anonymizer/gate/rules/error")) == 2)
    answer = json.loads(observer.of("anonymizer/gate/rules/error")[1])
    assert answer["topic"] == "anonymizer/gate/method/set"
    assert "no method 'keep'" in answer["error"]
    assert client.commands == []
    assert client.refused == 2


def test_the_broker_comes_late_goes_and_comes_back(
    start_broker: Any, observe: Any, connect: Connect, eventually: Any
) -> None:
    broker = start_broker()
    broker.stop()
    client: Any = connect(broker.port)
    eventually(lambda: client.problem)
    assert "refused" in client.problem
    client.send(*TOPICS.states("gate", CameraState(faces=1)), event(1))

    broker.start()
    eventually(lambda: client.connected and not client.outbox)
    observer = observe(broker.port)
    eventually(lambda: observer.of("anonymizer/gate/state"))
    assert client.problem == ""

    broker.stop()
    eventually(lambda: not client.connected)
    client.send(*TOPICS.states("gate", CameraState(faces=2)), event(2), event(3))
    assert len(client.outbox) > 2
    broker.start()
    eventually(lambda: client.connected and not client.outbox)
    again = observe(broker.port)
    eventually(lambda: again.of("anonymizer/gate/state"))
    assert json.loads(again.of("anonymizer/gate/state")[-1])["faces"] == 2
    assert again.of("anonymizer/available")[-1:] == [b"online"]
    again.say(PRIVACY, "ON")
    eventually(lambda: client.commands)
    assert client.outbox.dropped == 0


def test_events_from_a_broken_connection_are_sent_again(
    start_broker: Any, observe: Any, connect: Connect, eventually: Any
) -> None:
    """A frozen broker acknowledges nothing; what it has not acknowledged must reach the next one."""
    broker, other = start_broker(), start_broker()
    client = connect(broker.port)
    eventually(lambda: client.connected and not client.outbox and not client.in_flight)
    broker.signal(signal.SIGSTOP)
    for number in range(WINDOW + 5):
        client.send(event(number))
    eventually(lambda: len(client.outbox) == 5)
    observer = observe(other.port)
    client.settings = dataclasses.replace(client.settings, port=other.port)
    broker.stop()
    wanted = list(range(WINDOW + 5))
    # At least once: on a busy machine the connection to the other one may break too.
    eventually(lambda: list(dict.fromkeys(json.loads(e)["number"] for e in observer.of("anonymizer/events"))) == wanted)


def test_a_frozen_broker_costs_nobody_time_and_bounded_memory(
    start_broker: Any, connect: Connect, eventually: Any
) -> None:
    broker = start_broker()
    client = connect(broker.port, queue=200)
    eventually(lambda: client.connected and not client.outbox and not client.in_flight)
    broker.signal(signal.SIGSTOP)
    large = Message("anonymizer/events", b"x" * 4_000, Delivery.QUEUED)
    client.send(*[large] * WINDOW)
    eventually(lambda: not client.outbox)
    slowest = 0.0
    for _ in range(1000):
        began = time.thread_time()
        client.send(large)
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 0.01
    assert len(client.outbox) == 200
    assert client.outbox.dropped == 800
    began = time.monotonic()
    client.stop(0.3)
    assert time.monotonic() - began < 1.5


def test_commands_wait_in_the_broker_while_nobody_takes_them(
    start_broker: Any, observe: Any, connect: Connect, eventually: Any
) -> None:
    broker = start_broker("allow_anonymous true\nmax_queued_messages 0")
    waiting: list[Callable[[], None]] = []
    client: Any = connect(broker.port, call=waiting.append)
    eventually(lambda: client.connected)
    observer = observe(broker.port)
    for _ in range(PENDING + 40):
        observer.say(PRIVACY, "ON")
    eventually(lambda: len(waiting) >= PENDING)
    time.sleep(0.2)
    assert PENDING <= len(waiting) <= PENDING + WINDOW
    assert client.commands == []
    done = 0
    while done < PENDING + 40:
        eventually(lambda: len(waiting) > done)  # noqa: B023
        waiting[done]()
        done += 1
    assert len(client.commands) == PENDING + 40


def test_commands_arrive_on_the_callers_loop(start_broker: Any, observe: Any, eventually: Any) -> None:
    broker = start_broker()
    observer = observe(broker.port)

    async def service() -> tuple[Command, int]:
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[tuple[Command, int]]()
        client = MqttClient(
            MqttSettings(host="127.0.0.1", port=broker.port),
            TOPICS,
            lambda command: arrived.put_nowait((command, threading.get_ident())),
            call=loop.call_soon_threadsafe,
        )
        client.start()
        while not client.connected:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(observer.say, PRIVACY, "OFF")
        got = await asyncio.wait_for(arrived.get(), 20)
        await asyncio.to_thread(client.stop)
        return got

    command, thread = asyncio.run(service())
    assert command == SetPrivacy(PRIVACY, "gate", False)
    assert thread == threading.get_ident()


def test_a_command_that_fails_ends_nothing(
    start_broker: Any, observe: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker = start_broker()
    tried = []

    def obey(command: Command) -> None:
        tried.append(command)
        raise RuntimeError("the disk is full")

    client = MqttClient(MqttSettings(host="127.0.0.1", port=broker.port), TOPICS, obey)
    client.start()
    eventually(lambda: client.connected)
    observer = observe(broker.port)
    observer.say(PRIVACY, "ON")
    observer.say(PRIVACY, "OFF")
    eventually(lambda: len(tried) == 2)
    client.stop()
    assert "was not carried out" in caplog.text


KILLED = """
import sys, time
from anonymizer.events.client import MqttClient
from anonymizer.events.settings import MqttSettings
from anonymizer.events.topics import Topics
settings = MqttSettings(host="127.0.0.1", port=int(sys.argv[1]), version=sys.argv[2])
MqttClient(settings, Topics("anonymizer", ()), print).start()
time.sleep(60)
"""


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_others_see_that_the_process_was_killed(version: str, start_broker: Any, observe: Any, eventually: Any) -> None:
    broker = start_broker()
    observer = observe(broker.port)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(broker.port), version])
    eventually(lambda: observer.of("anonymizer/available") == [b"online"])
    process.kill()
    process.wait()
    eventually(lambda: observer.of("anonymizer/available") == [b"online", b"offline"])
    late = observe(broker.port, "anonymizer/available")
    eventually(lambda: late.heard == [("anonymizer/available", b"offline", True)])


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_passwords(
    version: str,
    start_broker: Any,
    connect: Connect,
    eventually: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "proxy", "s3cret-word"], check=True)
    broker = start_broker(f"allow_anonymous false\npassword_file {passwords}")
    monkeypatch.setenv("MQTT_PASSWORD", "wr0ng-word")
    login = {"username": "proxy", "password": Secret("env:MQTT_PASSWORD"), "version": version}
    client = connect(broker.port, **login)
    eventually(lambda: client.problem)
    assert not client.connected
    assert "it refused: Not authorized" in client.problem
    monkeypatch.setenv("MQTT_PASSWORD", "s3cret-word")
    eventually(lambda: client.connected)
    assert client.problem == ""
    assert "no connection" in caplog.text
    assert "word'" not in caplog.text + repr(client.settings)
    assert "s3cret" not in caplog.text + repr(client.settings)
    assert "wr0ng" not in caplog.text + repr(client.settings)


def test_a_refused_topic_is_told(
    start_broker: Any, observe: Any, connect: Connect, eventually: Any, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite anonymizer/available\ntopic readwrite anonymizer/+/state\n")
    broker = start_broker(f"allow_anonymous true\nacl_file {rules}")
    client = connect(broker.port, version="5")
    client.send(event(1))
    eventually(lambda: "messages to anonymizer/events" in client.problem)
    assert client.outbox.dropped == 1
    assert client.connected


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(self.name, self.key, authority=True).public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    **dict.fromkeys(
                        (
                            "content_commitment",
                            "key_encipherment",
                            "data_encipherment",
                            "key_agreement",
                            "encipher_only",
                            "decipher_only",
                        ),
                        False,
                    ),
                ),
                critical=True,
            )
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, name: str) -> tuple[str, str]:
        """A certificate for 127.0.0.1 and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(self._sign(subject, key, authority=False).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(certificate), str(private)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_tls_with_client_certificates(
    version: str, start_broker: Any, connect: Connect, eventually: Any, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key = authority.issue("broker")
    broker = start_broker(
        f"allow_anonymous true\nrequire_certificate true\ncafile {authority.file}\n"
        f"certfile {certificate}\nkeyfile {key}"
    )
    mine, my_key = authority.issue("proxy")
    login = {"tls": True, "certificate": mine, "private_key": my_key, "version": version}
    client: Any = connect(broker.port, ca=str(authority.file), **login)
    eventually(lambda: client.connected and not client.outbox)
    client.send(*(event(number) for number in range(50)))
    eventually(lambda: not client.outbox)
    assert client.problem == ""

    deceived = connect(broker.port, ca=str(stranger.file), **login)
    eventually(lambda: deceived.problem)
    assert "certificate verify failed" in deceived.problem
    deceived.stop()
    assert not deceived.connected

    nameless = connect(broker.port, ca=str(authority.file), tls=True, version=version)
    eventually(lambda: "may want a client certificate" in nameless.problem)
    assert not nameless.connected
    nameless.stop()
    gc.collect()  # the library leaves sockets of failed handshakes to it


def test_what_cannot_be_used_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MQTT_PASSWORD", raising=False)
    secret = MqttSettings(host="localhost", username="proxy", password=Secret("env:MQTT_PASSWORD"))
    with pytest.raises(ConfigError, match="MQTT_PASSWORD is missing"):
        MqttClient(secret, TOPICS, print)
    with pytest.raises(ConfigError, match=r"nowhere\.pem cannot be used for TLS"):
        MqttClient(MqttSettings(host="localhost", tls=True, ca=str(tmp_path / "nowhere.pem")), TOPICS, print)


def test_a_password_in_the_clear_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    MqttClient(MqttSettings(host="broker.example", username="a", password=Secret("b")), TOPICS, print).stop()
    assert "unencrypted" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prefix: a/+", "does not have the form"),
        ("password: x", "a password needs a username"),
        ("certificate: a.pem\ntls: true", "needs a private_key"),
        ("ca: a.pem", "of no use without tls"),
    ],
)
def test_settings_that_cannot_be_meant(text: str, problem: str) -> None:
    with pytest.raises(InvalidFile, match=problem):
        build(MqttSettings, parse(f"host: localhost\n{text}\n", "config.yaml"))


@pytest.mark.parametrize(("text", "broker"), [("", "h:1883"), ("tls: true", "h:8883"), ("port: 5", "h:5")])
def test_the_port_follows_from_tls(text: str, broker: str) -> None:
    assert build(MqttSettings, parse(f"host: h\n{text}\n", "config.yaml")).broker == broker
