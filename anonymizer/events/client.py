"""The connection to the MQTT broker, in a thread of its own.

Nobody waits for the broker: ``send`` puts a message into a bounded outbox and returns. Each connection begins with a
new client object, so that nothing of a broken one lives on; what was not acknowledged is sent again.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from anonymizer.errors import ConfigError
from anonymizer.events.outbox import Outbox
from anonymizer.events.settings import MqttSettings
from anonymizer.events.topics import Command, CommandError, Message, Topics
from anonymizer.ingest.backoff import Backoff
from anonymizer.yamlfile import MAX_BYTES

log = logging.getLogger(__name__)

WINDOW = 16
"""Messages on their way that the broker has not acknowledged."""
PENDING = 64
"""Commands that may wait for the caller's thread; beyond it the broker is not read from."""
_CONNECT_TIMEOUT = 5.0
_STEADY = 5.0  # a connection that held for so long ends the back-off


class MqttClient:
    """``start()``, ``send(...)`` from any thread, ``stop()``.

    topics: may be replaced at any time. on_command: gets each command that can be understood; the others are answered
    here. call: runs a function in the thread that on_command belongs to, such as ``loop.call_soon_threadsafe``; by
    default the client's own. Raises ConfigError for a secret or certificate that cannot be used.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        on_command: Callable[[Command], object],
        *,
        call: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        if settings.password is not None:
            settings.password.reveal()
        if settings.tls:
            _tls(settings)
        elif settings.username and settings.host not in {"localhost", "127.0.0.1", "::1"}:
            log.warning("mqtt: the password goes to %s unencrypted; set tls: true", settings.broker)
        self.settings = settings
        self.topics = topics
        self.outbox = Outbox(settings.queue)
        self.client_id = settings.client_id or f"anonymizer-{secrets.token_hex(4)}"
        self.connected = False
        self.problem = ""
        """Why there is no connection, or what the broker refuses; empty while all is well."""
        self.in_flight: dict[int, Message] = {}
        """Messages on their way, by their packet's number, that the broker has not acknowledged."""
        self.refused = 0
        """Commands that could not be understood."""
        self._on_command = on_command
        self._call = call
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        self.send(self.topics.availability(True))
        self._thread.start()

    def send(self, *messages: Message, again: bool = False) -> None:
        """Takes the messages and returns at once. again: even a state that has not changed is sent, so that whoever
        took a refused command for granted learns better."""
        for message in messages:
            self.outbox.put(message, again)
        self._wake()

    def stop(self, timeout: float = 2.0) -> None:
        """Says goodbye, after what waits, and ends. Returns after the timeout in any case."""
        self._deadline = time.monotonic() + timeout
        self.outbox.put(self.topics.availability(False))
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout + 0.5)
        if not self._thread.is_alive():
            self._wake_reader.close()
            self._wake_writer.close()

    # In the client's thread

    def _run(self) -> None:
        backoff = Backoff(first=0.5, longest=10.0)
        while not self._stopping.is_set():
            began = time.monotonic()
            problem = self._connection()
            self.connected = False
            if self._stopping.is_set():
                return
            if problem != self.problem:
                log.warning("mqtt: no connection to %s: %s; it is tried again", self.settings.broker, problem)
            self.problem = problem
            if time.monotonic() - began > _CONNECT_TIMEOUT + _STEADY:
                backoff.succeeded()
            self._stopping.wait(backoff.failed())

    def _connection(self) -> str:
        """One connection from beginning to end; returns why it ended."""
        try:
            connection = _Connection(self)
        except (ConfigError, OSError, ValueError) as error:
            return str(error) or type(error).__name__
        try:
            return connection.serve()
        except Exception as error:  # whatever a broken broker provokes in the library ends the connection only
            log.debug("mqtt: the connection failed", exc_info=True)
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()

    def _established(self) -> None:
        self.outbox.connected()
        self.connected, self.problem = True, ""
        log.info("mqtt: connected to %s", self.settings.broker)

    def _refuses(self, what: str) -> None:
        problem = f"the broker refuses {what}; look at its access rules for this user"
        if problem != self.problem:
            log.warning("mqtt: %s", problem)
        self.problem = problem

    def _received(self, message: MQTTMessage) -> None:
        try:
            command = self.topics.parse(message.topic, bytes(message.payload), retained=message.retain)
        except CommandError as error:
            self.refused += 1
            log.info("mqtt: %s: %s", message.topic, error)
            answer = self.topics.refusal(message.topic, error)
            if answer is not None:
                self.outbox.put(answer)
            return
        self._count(1)
        try:
            self._call(partial(self._deliver, command))
        except RuntimeError:  # the caller's loop is closed
            self._count(-1)
            log.debug("mqtt: nobody takes commands any more")

    # In the caller's thread

    def _deliver(self, command: Command) -> None:
        try:
            self._on_command(command)
        except Exception:
            log.exception("mqtt: %s was not carried out", command.topic)
        finally:
            self._count(-1)
            self._wake()

    # In any thread

    def _count(self, change: int) -> None:
        with self._waiting_lock:
            self._waiting += change

    def _wake(self) -> None:
        with suppress(OSError):  # full: it wakes anyway
            self._wake_writer.send(b"\0")

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass


class _Connection:
    """One connection. Raises ConfigError, OSError or ValueError where it cannot be made."""

    def __init__(self, owner: MqttClient) -> None:
        settings = owner.settings
        self._owner = owner
        self._up = False
        self._reason = ""
        self._in_flight = owner.in_flight
        v5 = settings.version == "5"
        client = self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=owner.client_id,
            clean_session=None if v5 else True,
            protocol=MQTTv5 if v5 else MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT
        if settings.username:
            client.username_pw_set(settings.username, settings.password.reveal() if settings.password else None)
        if settings.tls:
            client.tls_set_context(_tls(settings))
        will = owner.topics.availability(False)
        client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        properties = None
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_BYTES + 1024
        client.connect(settings.host, settings.port_in_use, settings.keepalive, properties=properties)

    def serve(self) -> str:
        """Returns why the connection has ended."""
        owner, client = self._owner, self._client
        while (link := client.socket()) is not None:
            stopping = owner._stopping.is_set()
            if stopping and (
                time.monotonic() >= owner._deadline or not (self._up and (self._in_flight or owner.outbox))
            ):
                client.disconnect()
                return "stopped"
            reading = owner._waiting < PENDING
            decrypted = reading and isinstance(link, ssl.SSLSocket) and link.pending() > 0
            poll = select.poll()
            poll.register(owner._wake_reader, select.POLLIN)
            events = (select.POLLIN if reading else 0) | (select.POLLOUT if client.want_write() else 0)
            if events:
                poll.register(link, events)
            ready = dict(poll.poll(0 if decrypted else 50 if stopping else 1000))
            owner._woken()
            found = ready.get(link.fileno(), 0)
            if decrypted or (reading and found & ~select.POLLOUT):
                client.loop_read()
            if found & select.POLLOUT:
                client.loop_write()
            client.loop_misc()
            while self._up and len(self._in_flight) < WINDOW and (message := owner.outbox.take()) is not None:
                self._publish(message)
        return self._reason or "the broker closed it"

    def close(self) -> None:
        """Frees the socket at once, and gives back what the broker has not acknowledged."""
        client = self._client
        client.on_connect = client.on_disconnect = client.on_subscribe = client.on_publish = client.on_message = None
        link = client.socket()
        if link is not None:
            link.close()
        for message in reversed(self._in_flight.values()):
            self._owner.outbox.unsent(message)
        self._in_flight.clear()

    def _publish(self, message: Message) -> None:
        retain = message.delivery is message.delivery.RETAINED
        info = self._client.publish(message.topic, message.payload, qos=1, retain=retain)
        self._in_flight[info.mid] = message

    # Called by the library within loop_read and loop_misc

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._reason = f"it refused: {reason}"
            return
        client.subscribe([(topic, 1) for topic in self._owner.topics.subscriptions()])
        self._up = True
        self._owner._established()

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        settings = self._owner.settings
        hint = "; it may want a client certificate" if settings.tls and not (self._up or settings.certificate) else ""
        self._up = False
        self._reason = self._reason or f"the connection broke: {reason}{hint}"

    def _on_subscribe(self, client: Client, data: Any, mid: int, reasons: Iterable[Any], properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._owner._refuses("subscriptions to commands")

    def _on_publish(self, client: Client, data: Any, mid: int, reason: Any, properties: Any) -> None:
        message = self._in_flight.pop(mid, None)
        if message is None:
            return
        if reason.is_failure:
            self._owner._refuses(f"messages to {message.topic}")
        self._owner.outbox.sent(message, not reason.is_failure)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._owner._received(message)


def _tls(settings: MqttSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.private_key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(file for file in (settings.ca, settings.certificate, settings.private_key) if file)
        raise ConfigError(f"mqtt: {files} cannot be used for TLS: {error}") from error
    return context
