"""The RTSP server: listens, limits, mounts streams at paths and keeps house. One asyncio loop, one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anonymizer.errors import ConfigError, PublishError
from anonymizer.publish import message
from anonymizer.publish.broadcast import Broadcast
from anonymizer.publish.connection import Connection
from anonymizer.publish.digest import Guesses, Nonces, User
from anonymizer.publish.listening import listen, renew, tls_context
from anonymizer.publish.session import Session
from anonymizer.publish.settings import RtspSettings
from anonymizer.publish.stream import Stream
from anonymizer.publish.udp import Address, UdpPair

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """For the audit: who asked for what. kind: 'accepted' or 'refused' (a password), 'blocked' (too many wrong ones:
    once, when it begins), 'play' or 'stop' (watching). user: the name claimed. path: what was asked for, such as
    'gate/sub'; of an address that is blocked neither counts."""

    kind: str
    user: str
    address: str
    path: str


@dataclass(slots=True)
class Counters:
    """Since the server was made."""

    connections: int = 0
    connections_refused: int = 0
    """Closed at once because there were too many."""
    requests: int = 0
    protocol_errors: int = 0
    wrong_passwords: int = 0
    blocked: int = 0
    """Requests refused because of too many wrong passwords before."""
    stalled: int = 0
    """Clients cut off because they took nothing."""
    expired: int = 0
    """Sessions ended for want of a sign of life."""
    dropped: int = 0
    """Access units that slow clients lost, of sessions that have ended; those running tell their own."""


@dataclass(frozen=True, slots=True)
class Client:
    """One session as seen from outside. transport: 'tcp' or 'udp'. fraction_lost: 0–1, by the client's own report."""

    user: str
    address: str
    path: str
    transport: str
    playing: bool
    sent: int
    dropped: int
    fraction_lost: float


@dataclass(slots=True)
class Mount:
    path: str
    stream: Stream
    broadcast: Broadcast
    users: tuple[User, ...] = field(default=())


class Server:
    """``mount`` streams, ``await start()``, ``publish`` into the streams from the same loop, ``await stop()``.

    audit: called with each AccessEvent; what it raises is logged. clock: seconds, never running back.
    """

    def __init__(
        self,
        settings: RtspSettings,
        *,
        audit: Callable[[AccessEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.counters = Counters()
        self.mounts: dict[str, Mount] = {}
        self.nonces = Nonces(secrets.token_bytes(32), settings.nonce_life)
        self.guesses = Guesses(settings.guesses, settings.guess_window)
        self.buffer_limit = int(settings.client_buffer * (1 << 20))
        self.udp: UdpPair | None = None
        self.port: int | None = None
        """TCP port of RTSP while it is served."""
        self.tls_port: int | None = None
        """TCP port of RTSPS while it is served."""
        self._audit = audit
        self._open = 0
        self._connections: set[Connection] = set()
        self._listeners: list[socket.socket] = []
        self._loops: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._udp_sessions: dict[Address, Session] = {}
        self._tls: ssl.SSLContext | None = None

    # Streams

    def mount(self, path: str, stream: Stream, users: Sequence[User] = ()) -> None:
        """Serves a stream at ``/path``, or changes who may watch it; who no longer may is cut off.

        Raises ConfigError where there are no users although the settings ask for passwords, or where one is unusable.
        """
        self.check(path, users)
        old = self.mounts.get(path)
        if old is not None and old.stream is stream:
            gone = {user.name for user in set(old.users) - set(users)}
            old.users = tuple(users)
            self._cut(lambda session: session.path == path and session.user in gone)
            return
        self.unmount(path)
        self.mounts[path] = Mount(path, stream, Broadcast(stream, self.settings.packet_size, self.clock), tuple(users))

    def check(self, path: str, users: Sequence[User]) -> None:
        """Raises ConfigError where ``mount`` would."""
        if not path or message.locate(path) != (path, None):
            raise ConfigError(f"rtsp: a stream cannot be served at the path {path!r}; use letters, digits and single /")
        if not users and self.settings.auth != "none":
            raise ConfigError(
                f"rtsp: nobody may watch {path}: it has no users. Give it users, or write auth: none to let everyone in"
            )
        for user in users:
            if not user.name or not user.password or ":" in user.name or not user.name.isprintable():
                raise ConfigError(f"rtsp: {path}: user {user.name!r} needs a name without ':' and a password")

    def unmount(self, path: str) -> None:
        """Ends a stream for all who watch it."""
        if self.mounts.pop(path, None) is not None:
            self._cut(lambda session: session.path == path)

    def _cut(self, which: Callable[[Session], bool]) -> None:
        for connection in tuple(self._connections):
            if connection.session is not None and which(connection.session):
                connection.close()

    def clients(self) -> list[Client]:
        return [
            Client(
                session.user,
                connection.address,
                session.path,
                session.link.name,
                session.playing,
                session.sent,
                session.dropped,
                session.fraction_lost,
            )
            for connection in self._connections
            if (session := connection.session) is not None
        ]

    # Life

    async def start(self) -> None:
        """Raises ConfigError for an unusable certificate, PublishError for a port that is taken."""
        settings = self.settings
        if settings.tls != "off":
            self._tls = tls_context("rtsp", settings)
        try:
            if settings.tls != "required":
                self.port = self._listen(settings.port, None, "port")
            if self._tls is not None:
                self.tls_port = self._listen(settings.tls_port, self._tls, "tls_port")
            if settings.udp and settings.tls != "required":
                self.udp = UdpPair(self._listeners[0].family, settings.host, settings.udp_port, self._heard)
        except PublishError:
            await self.stop()
            raise
        self._loops.append(asyncio.create_task(self._keep_house()))

    def reload_certificate(self) -> None:
        """Reads certificate and key again; new connections use them. Raises ConfigError and keeps the old ones."""
        if self._tls is not None:
            renew("rtsp", self.settings, self._tls)

    async def stop(self) -> None:
        """Says goodbye to all clients; cuts those that do not take it within a second."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in tuple(self._connections):
            connection.close()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=1.0)
            for connection in tuple(self._connections):
                connection.abort()
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self.udp is not None:
            self.udp.close()
        self.udp = self.port = self.tls_port = None

    def _listen(self, port: int, tls: ssl.SSLContext | None, name: str) -> int:
        listener = listen("rtsp", self.settings.host, port, name)
        self._listeners.append(listener)
        self._loops.append(asyncio.create_task(self._accept(listener, tls)))
        return int(listener.getsockname()[1])

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Counts connections from the moment they are accepted, TLS handshakes included."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors: those in use must end first
                log.warning("rtsp: cannot accept a connection: %s", error)
                await asyncio.sleep(0.5)
                continue
            if self._open >= self.settings.connections:
                self.counters.connections_refused += 1
                if tls is None:
                    with contextlib.suppress(OSError):
                        client.send(message.response(503, None, {"Retry-After": "5"}))
                client.close()
                continue
            self._open += 1
            self.counters.connections += 1
            task = asyncio.create_task(self._serve(client, tls))
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._open -= 1

    async def _serve(self, client: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(self, tls is not None)
        patience = self.settings.login_timeout if tls is not None else None
        try:
            await loop.connect_accepted_socket(
                lambda: connection, client, ssl=tls, ssl_handshake_timeout=patience, ssl_shutdown_timeout=patience
            )
        except OSError as error:  # a failed handshake; ssl.SSLError and TimeoutError are OSErrors
            log.debug("rtsp: no connection: %s", error)
            client.close()
            return
        self._connections.add(connection)
        try:
            await connection.closed
        finally:
            self._connections.discard(connection)

    async def _keep_house(self) -> None:
        settings = self.settings
        interval = min(1.0, min(settings.session_timeout, settings.login_timeout, settings.stall_timeout) / 4)
        while True:
            await asyncio.sleep(interval)
            now = self.clock()
            for connection in tuple(self._connections):
                connection.tick(now)

    # For the connections

    def audit(self, kind: str, user: str, address: str, path: str) -> None:
        try:
            self._audit(AccessEvent(kind, user, address, path))
        except Exception:  # a full disk behind the audit must not end the video
            log.exception("rtsp: the audit failed at '%s' of %s", kind, address)

    def listen_to(self, session: Session, control: Address) -> None:
        """RTCP from that address is the session's sign of life from now on."""
        self._udp_sessions[control[:2]] = session

    def forget(self, session: Session) -> None:
        self.counters.dropped += session.dropped
        self._udp_sessions = {key: each for key, each in self._udp_sessions.items() if each is not session}

    def _heard(self, data: bytes, sender: Address) -> None:
        session = self._udp_sessions.get(sender[:2])
        if session is not None:
            try:
                session.heard(data, self.clock())
            except ValueError:
                self.counters.protocol_errors += 1
