"""The HTTP server, in the service's asyncio loop.

/healthz                          200 while the service runs
/readyz                           200 when every camera streams or says why not
/metrics                          for Prometheus
/api/cameras                      the states of the cameras that the user may watch: JSON
/api/cameras/<name>/frame.jpg     an anonymised still
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from anonymizer.events.state import CameraCounters, CameraState
from anonymizer.publish import User
from anonymizer.publish.digest import Guesses
from anonymizer.publish.listening import listen, renew, tls_context
from anonymizer.publish.server import AccessEvent
from anonymizer.web.gate import Gate
from anonymizer.web.metrics import Metrics
from anonymizer.web.settings import HttpSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """One camera as the HTTP server sees it. users: who may watch it."""

    state: CameraState
    counters: CameraCounters
    users: tuple[User, ...]


class Proxy(Protocol):
    """What the service tells the HTTP server, at the moment of asking. None of it blocks or raises."""

    def cameras(self) -> Mapping[str, View]:
        """Every configured camera by name."""

    async def still(self, camera: str) -> bytes | None:
        """An anonymised JPEG made after the call, or None where there is none. May take its time: it is cancelled."""

    def totals(self) -> Mapping[str, float]:
        """The service's own counters for the metrics, by name, such as ``mqtt_events_dropped``."""


class HttpServer:
    """``await start()``, ``await stop()``. Add pages to ``app`` before the start.

    proxy: where everything comes from. guesses: those of the RTSP server. audit: called with each AccessEvent; what it
    raises is logged. clock: see ``Gate``.
    """

    def __init__(
        self,
        settings: HttpSettings,
        proxy: Proxy,
        *,
        guesses: Guesses,
        audit: Callable[[AccessEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.port: int | None = None
        """TCP port while it is served."""
        self.gate = Gate(settings, self._note, guesses, clock)
        self.app = web.Application(client_max_size=1 << 16)
        self._proxy = proxy
        self._audit = audit
        self._metrics = Metrics(self._readings, self._totals)
        self._stills: dict[str, asyncio.Task[bytes | None]] = {}
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._refused = 0
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/readyz", self._readyz)
        self.app.router.add_get("/metrics", self._get_metrics)
        self.app.router.add_get("/api/cameras", self._get_cameras)
        self.app.router.add_get("/api/cameras/{camera}/frame.jpg", self._get_still)
        self.app.on_response_prepare.append(_headers)

    async def start(self) -> None:
        """Raises ConfigError for an unusable address or certificate, PublishError for a port that is taken."""
        settings = self.settings
        tls = self._tls = tls_context("http", settings) if settings.tls else None
        loop = asyncio.get_running_loop()
        listener = listen("http", settings.host, settings.port)
        # aiohttp waits without end for clients that ask and read no answer; the kernel cuts them, also while closing.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * settings.idle_timeout))
        runner = self._runner = web.AppRunner(
            self.app, access_log=None, keepalive_timeout=settings.idle_timeout, shutdown_timeout=1.0
        )
        await runner.setup()
        server = runner.server
        assert server is not None

        def accept() -> asyncio.BaseProtocol:
            if len(server.connections) >= settings.connections:
                self._refused += 1
                return _Closed()
            return server()

        self._listener = await loop.create_server(
            accept,
            sock=listener,
            ssl=tls,
            ssl_handshake_timeout=settings.idle_timeout if tls else None,
            ssl_shutdown_timeout=1.0 if tls else None,
        )
        self.port = int(listener.getsockname()[1])

    def check_certificate(self) -> None:
        """Raises ConfigError where ``reload_certificate`` would."""
        if self._tls is not None:
            tls_context("http", self.settings)

    def reload_certificate(self) -> None:
        """Reads certificate and key again; new connections use them. Raises ConfigError and keeps the old ones."""
        if self._tls is not None:
            renew("http", self.settings, self._tls)

    async def stop(self) -> None:
        """Ends all connections; those with a request under way get a second."""
        if self._listener is not None:
            self._listener.close()
        for task in self._stills.values():
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        self._listener = self._runner = self.port = None

    def _note(self, event: AccessEvent) -> None:
        try:
            self._audit(event)
        except Exception:  # a full disk behind the audit must not end the service
            log.exception("http: the audit failed at '%s' of %s", event.kind, event.address)

    # What is asked

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        """Tells numbers only: it asks for no password, and names of cameras are nobody else's business."""
        states = [view.state for view in self._proxy.cameras().values()]
        waiting = sum(not (state.online or state.reason) for state in states)
        answer = {
            "ready": not waiting,
            "cameras": len(states),
            "online": sum(state.online for state in states),
            "waiting": waiting,
        }
        return web.json_response(answer, status=503 if waiting else 200)

    async def _get_metrics(self, request: web.Request) -> web.Response:
        allowed = self.settings.metrics
        if allowed == "off":
            raise web.HTTPNotFound
        if allowed == "local" and not _is_local(request):
            raise web.HTTPForbidden(text="Metrics are for this machine only; metrics: open lets everyone read them.\n")
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _get_cameras(self, request: web.Request) -> web.Response:
        views = self._proxy.cameras()
        granted = self.gate.admit(request, {name: view.users for name, view in views.items()})
        return web.json_response(
            [{"name": name, **view.state.to_json()} for name, view in views.items() if name in granted]
        )

    async def _get_still(self, request: web.Request) -> web.Response:
        name, views = request.match_info["camera"], self._proxy.cameras()
        if name not in self.gate.admit(request, {name: view.users for name, view in views.items()}, name):
            raise web.HTTPNotFound(text="There is no such camera.\n")
        picture = await self._still(name)
        if picture is None:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"}, text="There is no picture now.\n")
        return web.Response(body=picture, content_type="image/jpeg")

    async def _still(self, name: str) -> bytes | None:
        """At most one still of a camera is being made; all who ask meanwhile get it."""
        task = self._stills.get(name)
        if task is None:
            task = self._stills[name] = asyncio.create_task(self._make_still(name))
            task.add_done_callback(lambda _: self._stills.pop(name, None))
        return await task

    async def _make_still(self, name: str) -> bytes | None:
        try:
            return await asyncio.wait_for(self._proxy.still(name), self.settings.still_timeout)
        except TimeoutError:
            return None

    # For the metrics

    def _readings(self) -> dict[str, tuple[CameraState, CameraCounters]]:
        return {name: (view.state, view.counters) for name, view in self._proxy.cameras().items()}

    def _totals(self) -> dict[str, float]:
        own = {"http_wrong_passwords": self.gate.wrong_passwords, "http_connections_refused": self._refused}
        return {**self._proxy.totals(), **own}


class _Closed(asyncio.Protocol):
    """For a connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["Server"] = "anonymizer"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


def _is_local(request: web.Request) -> bool:
    if "Forwarded" in request.headers or "X-Forwarded-For" in request.headers:
        return False  # a reverse proxy on this machine speaks for somebody else
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
