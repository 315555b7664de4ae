"""One RTSP connection: reads requests, answers them, and holds at most one session."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from anonymizer.publish import digest, message, sdp
from anonymizer.publish.broadcast import VIDEO
from anonymizer.publish.digest import Verdict
from anonymizer.publish.message import Frame, ProtocolError, Request
from anonymizer.publish.session import Outlet, Session, TcpLink, UdpLink

if TYPE_CHECKING:
    from anonymizer.publish.server import Mount, Server

log = logging.getLogger(__name__)

_ANSWERS = 65536  # bytes of answers that may wait beside the media before the client counts as hostile

_SOCKET_OPTIONS = (
    # A client whose machine is gone is noticed even while no media goes to it.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    # What a slow client has not taken waits here, where it can be dropped, and not for seconds in the system.
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 131_072),
)

Headers = Mapping[str, str | list[str]]


class Refusal(Exception):
    """Ends the handling of a request with an error answer; the connection goes on."""

    def __init__(self, status: int, headers: Headers | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers: Headers = headers or {}


class Connection(asyncio.Protocol):
    """Driven by the server, whose settings, mounts and counters it uses."""

    def __init__(self, server: Server, tls: bool) -> None:
        self._server = server
        self._tls = tls
        self._parser = message.Parser(message.Limits(head=server.settings.head_limit))
        self._transport: asyncio.Transport
        self._outlet: Outlet
        self._peer: tuple[object, ...] = ()
        self._local = ""
        self._session: Session | None = None
        self._user: str | None = None
        self._granted: set[tuple[str, str]] = set()
        self._nonce = ""
        self._alive_at = server.clock()
        self._closing = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handlers: dict[str, Callable[[Request, Mount, int | None], tuple[Headers, bytes]]] = {
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "PAUSE": self._pause,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._parameter,
            "SET_PARAMETER": self._parameter,
        }
        self._public = ", ".join(["OPTIONS", *self._handlers])

    @property
    def session(self) -> Session | None:
        return self._session

    @property
    def address(self) -> str:
        return str(self._peer[0]) if self._peer else ""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._outlet = Outlet(self._transport, self._alive_at)
        self._peer = transport.get_extra_info("peername") or ()
        self._local = (transport.get_extra_info("sockname") or ("0.0.0.0",))[0]
        link = transport.get_extra_info("socket")
        for level, option, value in _SOCKET_OPTIONS:
            link.setsockopt(level, option, value)

    def data_received(self, data: bytes) -> None:
        try:
            for each in self._parser.feed(data):
                if self._closing:
                    return
                if isinstance(each, Frame):
                    self._heard(each)
                else:
                    self._answer(each)
        except ProtocolError as error:
            self._server.counters.protocol_errors += 1
            log.debug("rtsp: %s: %s", self.address, error)
            self._respond(error.status, None)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._drop_session()
        if not self.closed.done():
            self.closed.set_result(None)

    # What the server calls

    def close(self) -> None:
        """Ends the session and closes once what was written is away."""
        if not self._closing:
            self._closing = True
            if self._session is not None:
                self._session.end()
            self._drop_session()
            self._transport.close()

    def abort(self) -> None:
        self._drop_session()
        self._transport.abort()

    def tick(self, now: float) -> None:
        """Called about once a second: ends what has had no sign of life for too long."""
        settings, counters, session = self._server.settings, self._server.counters, self._session
        if self._outlet.stalled_for(now) > settings.stall_timeout:
            counters.stalled += 1
            log.info("rtsp: %s takes nothing any more and is cut off", self.address)
            self.abort()
        elif self._closing:
            return
        elif session is not None and session.ended:
            self.close()
        elif self._user is None:
            if now - self._alive_at > settings.login_timeout:
                self.close()
        elif session is not None and session.playing and isinstance(session.link, TcpLink):
            return  # a connection that takes its media lives
        elif now - max(self._alive_at, session.alive_at if session is not None else 0) > settings.session_timeout:
            counters.expired += 1
            log.info("rtsp: session of %s expired", self.address)
            self.close()

    # Requests

    def _answer(self, request: Request) -> None:
        counters = self._server.counters
        counters.requests += 1
        path, track = message.locate(request.uri)
        try:
            if "require" in request.headers:
                raise Refusal(551, {"Unsupported": request.headers["require"]})
            if request.method == "OPTIONS":
                headers, body = self._options()
            elif request.method not in self._handlers:
                raise Refusal(501, {"Public": self._public})
            else:
                mount = self._authorise(request, path)
                headers, body = self._handlers[request.method](request, mount, track)
        except Refusal as refusal:
            self._respond(refusal.status, request.cseq, refusal.headers)
            if refusal.status == 403:
                self.close()
            return
        if self._user is not None:
            self._alive_at = self._server.clock()
        self._respond(200, request.cseq, headers, body)
        if request.method == "PLAY" and self._session is not None:
            self._session.play()

    def _authorise(self, request: Request, path: str) -> Mount:
        """The mount at the path. Raises Refusal; a user of another camera learns no more than that it is not there."""
        server = self._server
        settings, now = server.settings, server.clock()
        mount = server.mounts.get(path)
        if settings.auth == "none":
            if mount is None:
                raise Refusal(404)
            self._user = ""
            return mount
        if self._user is None and server.guesses.wait(self.address, now):
            self._block(now)

        def fresh(nonce: str) -> bool:
            # The nonce of a login holds as long as the connection, so that keep-alives never meet a challenge.
            if nonce == self._nonce or server.nonces.fresh(nonce, now, self.address):
                self._nonce = nonce
                return True
            return False

        basic = settings.auth == "basic" or self._tls
        everyone = [user for each in server.mounts.values() for user in each.users]
        for users in ([mount.users] if mount is not None else []) + [everyone]:
            verdict, name = digest.check(
                request.headers.get("authorization"),
                request.method,
                users,
                fresh=fresh,
                same_target=lambda uri: message.locate(uri)[0] == path,
                algorithms=settings.digest,
                basic=basic,
            )
            if verdict is Verdict.GRANTED:
                if mount is None or users is not mount.users:
                    server.audit("refused", name, self.address, path)
                    raise Refusal(404)
                if (name, path) not in self._granted:
                    self._granted.add((name, path))
                    server.audit("accepted", name, self.address, path)
                self._user = name
                return mount
            if verdict is not Verdict.WRONG:
                break
        if verdict is Verdict.WRONG:
            server.counters.wrong_passwords += 1
            server.audit("refused", name, self.address, path)
            server.guesses.wrong(self.address, now)
            if server.guesses.wait(self.address, now):
                server.audit("blocked", "", self.address, "")  # once, not for each request while it lasts
                self._block(now)
        nonce = server.nonces.issue(now, self.address)
        offers = digest.challenges(settings.digest, nonce, stale=verdict is Verdict.STALE, basic=basic)
        raise Refusal(401, {"WWW-Authenticate": offers})

    def _block(self, now: float) -> None:
        server = self._server
        server.counters.blocked += 1
        raise Refusal(403, {"Retry-After": str(int(server.guesses.wait(self.address, now)) + 1)})

    def _options(self) -> tuple[Headers, bytes]:
        return {"Public": self._public}, b""

    def _describe(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        accepted = request.headers.get("accept", sdp.CONTENT_TYPE)
        if sdp.CONTENT_TYPE not in accepted and "*" not in accepted:
            raise Refusal(406)
        video = mount.broadcast.ready()
        if video is None:
            raise Refusal(503, {"Retry-After": "1"})
        body = sdp.describe(mount.stream.name, self._local, video, mount.stream.audio)
        return {"Content-Type": sdp.CONTENT_TYPE, "Content-Base": f"{_base(request.uri)}/"}, body

    def _setup(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        session = self._session
        if session is None:
            if "session" in request.headers:
                raise Refusal(454)
        else:
            self._own(request, mount, optional=True)
            if session.playing:
                raise Refusal(455, {"Allow": "PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"})
        if mount.broadcast.ready() is None:
            raise Refusal(503, {"Retry-After": "1"})
        tracks = mount.broadcast.tracks
        if track is None:
            if len(tracks) > 1:
                raise Refusal(459)
            track = VIDEO
        if track not in tracks:
            raise Refusal(404)
        for choice in message.parse_transports(request.headers.get("transport", "")):
            answer = self._transport_for(choice, mount, track)
            if answer is not None:
                assert self._session is not None
                self._session.tracks.add(track)
                timeout = int(self._server.settings.session_timeout)
                ssrc = tracks[track].packer.ssrc
                return {
                    "Session": f"{self._session.id};timeout={max(1, timeout)}",
                    "Transport": f"{answer};ssrc={ssrc:08X}",
                }, b""
        raise Refusal(461)

    def _transport_for(self, choice: message.Transport, mount: Mount, track: int) -> str | None:
        """Sets the track up as the client chose and says so in a Transport header; None where that cannot be."""
        server, session, now = self._server, self._session, self._server.clock()
        link = session.link if session is not None else None
        if choice.tcp:
            if link is None:
                link = TcpLink(self._outlet, server.buffer_limit)
            if not isinstance(link, TcpLink):
                return None
            channels = link.assign(track, choice.first, choice.second)
            if channels is None:
                return None
            answer = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"
        else:
            udp = server.udp
            if udp is None or self._tls or choice.first is None or choice.second is None or not self._peer:
                return None
            if link is None:
                link = UdpLink(udp)
            if not isinstance(link, UdpLink):
                return None
            host, rest = self._peer[0], self._peer[2:]
            link.addresses[track] = (host, choice.first, *rest), (host, choice.second, *rest)
            ports, ours = f"{choice.first}-{choice.second}", f"{udp.port}-{udp.port + 1}"
            answer = f"RTP/AVP/UDP;unicast;client_port={ports};server_port={ours}"
        if session is None:
            session = self._session = Session(mount.path, self._user or "", mount.broadcast, link, now)
        if isinstance(link, UdpLink):
            server.listen_to(session, link.addresses[track][1])
        return answer

    def _play(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        session = self._own(request, mount)
        infos = []
        for number in sorted(session.tracks):
            info = f"url={_base(request.uri)}/{sdp.CONTROL}{number}"
            timestamp = mount.broadcast.tracks[number].timeline.estimate(self._server.clock())
            infos.append(info if timestamp is None else f"{info};rtptime={timestamp & 0xFFFFFFFF}")
        if not session.played:
            self._server.audit("play", session.user, self.address, session.path)
        # The media begins after this answer is written.
        return {"Session": session.id, "Range": "npt=now-", "RTP-Info": ",".join(infos)}, b""

    def _pause(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        session = self._own(request, mount)
        session.pause()
        return {"Session": session.id}, b""

    def _teardown(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        self._own(request, mount)
        self._drop_session()
        return {}, b""

    def _parameter(self, request: Request, mount: Mount, track: int | None) -> tuple[Headers, bytes]:
        """A keep-alive; there are no parameters to read or set."""
        if self._session is not None:
            self._own(request, mount, optional=True)
        elif "session" in request.headers:
            raise Refusal(454)
        if request.body.strip():
            raise Refusal(451)
        return {} if self._session is None else {"Session": self._session.id}, b""

    def _own(self, request: Request, mount: Mount, optional: bool = False) -> Session:
        """The connection's session, if it is what the request names. Raises Refusal."""
        session = self._session
        named = request.headers.get("session", "").partition(";")[0].strip()
        if session is None or session.ended or session.path != mount.path:
            raise Refusal(454)
        if named != session.id and not (optional and not named):
            raise Refusal(454)
        return session

    # The wire

    def _heard(self, frame: Frame) -> None:
        session = self._session
        if session is None or not isinstance(session.link, TcpLink):
            raise ProtocolError(400, "interleaved frame without a session")
        if session.link.carries_rtcp(frame.channel):
            try:
                session.heard(frame.payload, self._server.clock())
            except ValueError as error:
                self._server.counters.protocol_errors += 1
                log.debug("rtsp: %s: %s", self.address, error)

    def _respond(self, status: int, cseq: int | None, headers: Headers | None = None, body: bytes = b"") -> None:
        if self._outlet.waiting > self._server.buffer_limit + _ANSWERS:
            self._server.counters.stalled += 1
            self._closing = True
            self.abort()
            return
        self._outlet.write(message.response(status, cseq, {"Server": "anonymizer", **(headers or {})}, body))

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if session.played:
            self._server.audit("stop", session.user, self.address, session.path)
        session.pause()
        self._server.forget(session)


def _base(uri: str) -> str:
    """The URI without query, track and closing slash."""
    base = uri.partition("?")[0].rstrip("/")
    head, _, tail = base.rpartition("/")
    return head if tail.startswith(sdp.CONTROL) else base
