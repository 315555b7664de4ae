"""The HTTP server as its clients meet it: who sees what, health, metrics, limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anonymizer.errors import ConfigError, PublishError
from anonymizer.events.state import CameraCounters, CameraState
from anonymizer.publish import User
from anonymizer.publish.digest import Guesses
from anonymizer.publish.server import AccessEvent
from anonymizer.settings import build
from anonymizer.web import HttpSettings
from anonymizer.web.server import HttpServer, View
from anonymizer.yamlfile import InvalidFile, parse
from tests.certificates import sign

GUARD, OTHER = User("guard", "s3cret"), User("other", "s3cret too")
STILL = "/api/cameras/gate/frame.jpg"
JPEG = b"\xff\xd8 a picture \xff\xd9"


class House:
    """What the service would tell."""

    def __init__(self, **cameras: View) -> None:
        self.views = cameras
        self.asked: list[str] = []
        self.make: Callable[[str], Awaitable[bytes | None]] = self.ready

    async def ready(self, camera: str) -> bytes | None:
        return JPEG

    def cameras(self) -> Mapping[str, View]:
        return self.views

    async def still(self, camera: str) -> bytes | None:
        self.asked.append(camera)
        return await self.make(camera)

    def totals(self) -> Mapping[str, float]:
        return {"mqtt_events_dropped": 7}


def view(*users: User, **state: Any) -> View:
    return View(CameraState(**{"online": True} | state), CameraCounters(), users)


def house() -> House:
    return House(gate=view(GUARD, faces=2), yard=view(OTHER))


Test = Callable[[aiohttp.ClientSession, HttpServer], Awaitable[None]]


def serve(test: Test, proxy: House, *, client: dict[str, Any] | None = None, **settings: Any) -> HttpServer:
    """Runs test with a session at a running server, and returns the server after its end."""
    more = {name: settings.pop(name) for name in ("audit", "guesses", "clock") if name in settings}
    more.setdefault("guesses", Guesses(10, 60.0))
    server = HttpServer(HttpSettings(**{"host": "127.0.0.1", "port": 0} | settings), proxy, **more)

    async def run() -> None:
        await server.start()
        scheme = "https" if server.settings.tls else "http"
        try:
            async with aiohttp.ClientSession(f"{scheme}://127.0.0.1:{server.port}", **client or {}) as session:
                await test(session, server)
        finally:
            await server.stop()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    asyncio.run(run())
    return server


def digest_of(challenge: str, user: str, password: str, path: str, method: str = "GET") -> dict[str, str]:
    """RFC 2617 without qop, as the server offers it."""
    found = re.search(r'nonce="([^"]+)"', challenge)
    assert found is not None
    md5 = [hashlib.md5(part.encode()).hexdigest() for part in (f"{user}:anonymizer:{password}", f"{method}:{path}")]
    response = hashlib.md5(f"{md5[0]}:{found[1]}:{md5[1]}".encode()).hexdigest()
    parts = {"username": user, "realm": "anonymizer", "nonce": found[1], "uri": path, "response": response}
    return {"Authorization": "Digest " + ", ".join(f'{name}="{value}"' for name, value in parts.items())}


async def ask(
    session: aiohttp.ClientSession, path: str, user: str, password: str, method: str = "GET"
) -> tuple[int, bytes]:
    """As a client with Digest does: asks, is challenged, answers."""
    async with session.request(method, path) as challenged:
        assert challenged.status == 401
        challenge = challenged.headers["WWW-Authenticate"]
    async with session.request(method, path, headers=digest_of(challenge, user, password, path, method)) as answer:
        return answer.status, await answer.read()


def test_a_still_for_whom_may_watch_the_camera() -> None:
    noted: list[AccessEvent] = []

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        assert await ask(session, STILL, "guard", "s3cret") == (200, JPEG)
        assert await ask(session, f"{STILL}?t=1", "guard", "s3cret") == (200, JPEG)
        assert await ask(session, STILL, "guard", "s3cret", "HEAD") == (200, b"")
        assert (await ask(session, STILL, "guard", "wrong"))[0] == 401
        assert (await ask(session, STILL, "nobody", "s3cret"))[0] == 401

    server = serve(test, house(), audit=noted.append)
    assert [(event.kind, event.user, event.path) for event in noted] == [
        ("accepted", "guard", STILL),
        ("refused", "guard", STILL),
        ("refused", "nobody", STILL),
    ]
    assert server.gate.wrong_passwords == 2


def test_a_user_of_another_camera_cannot_tell_whether_there_is_one() -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        there = await ask(session, STILL, "other", "s3cret too")
        nowhere = await ask(session, STILL.replace("gate", "nowhere"), "other", "s3cret too")
        assert there == nowhere == (404, b"There is no such camera.\n")

    proxy, noted = house(), []
    serve(test, proxy, audit=noted.append)
    assert proxy.asked == []
    assert [(event.kind, event.user) for event in noted] == [("refused", "other")] * 2


def test_states_of_the_users_own_cameras_only() -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get("/api/cameras") as challenged:
            header = digest_of(challenged.headers["WWW-Authenticate"], "guard", "s3cret", "/api/cameras")
        async with session.get("/api/cameras", headers=header) as answer:
            assert await answer.json() == [{"name": "gate", **CameraState(online=True, faces=2).to_json()}]
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "anonymizer"

    serve(test, house())


def test_the_digest_holds_for_its_own_path_and_time_only() -> None:
    now = 1000.0

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        nonlocal now
        async with session.get(STILL) as challenged:
            header = digest_of(challenged.headers["WWW-Authenticate"], "guard", "s3cret", STILL)
        async with session.get("/api/cameras", headers=header) as answer:
            assert answer.status == 401
        now += 59
        async with session.get(STILL, headers=header) as answer:
            assert answer.status == 200
        now += 2
        async with session.get(STILL, headers=header) as answer:
            assert answer.status == 401
            assert "stale=TRUE" in answer.headers["WWW-Authenticate"]

    server = serve(test, house(), clock=lambda: now)
    assert server.gate.wrong_passwords == 1


def test_the_audit_has_an_access_once_in_a_while() -> None:
    now, noted = 0.0, []

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        nonlocal now
        for _ in range(5):
            assert (await ask(session, STILL, "guard", "s3cret"))[0] == 200
            now += 400

    serve(test, house(), audit=noted.append, clock=lambda: now)
    assert len(noted) == 3


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(("auth", "status"), [("digest", 401), ("basic", 200), ("none", 200)])
def test_basic_without_tls_only_when_asked_for(auth: str, status: int) -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get(STILL, headers=basic("guard", "s3cret")) as answer:
            assert answer.status == status
        async with session.get(STILL) as answer:
            offers = answer.headers.getall("WWW-Authenticate", [])
            assert any(offer.startswith("Basic") for offer in offers) == (auth == "basic")

    server = serve(test, house(), auth=auth)
    assert server.gate.wrong_passwords == 0


def test_basic_over_tls(tmp_path: Path) -> None:
    certificate, key = sign(tmp_path)

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get(STILL, headers=basic("guard", "s3cret")) as answer:
            assert (answer.status, await answer.read()) == (200, JPEG)
        async with session.get(STILL, headers=basic("guard", "wrong")) as answer:
            assert answer.status == 401

    trusting = {"connector": None}
    settings = {"tls": True, "certificate": certificate, "private_key": key}

    async def connected(session: aiohttp.ClientSession, server: HttpServer) -> None:
        context = ssl.create_default_context(cafile=certificate)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(f"https://127.0.0.1:{server.port}", connector=connector) as trusted:
            await test(trusted, server)
        old = Path(certificate).read_text()
        sign(tmp_path)
        server.reload_certificate()
        served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", server.port))
        assert served.strip() == Path(certificate).read_text().strip() != old.strip()

    serve(connected, house(), client=trusting, **settings)


@pytest.mark.parametrize(
    "scheme", [b'Digest username="%s", realm="anonymizer", nonce="1", uri="/api/cameras", response="%s"', b"Basic %s%s"]
)
def test_bytes_that_are_no_text_are_a_wrong_password(scheme: bytes) -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = b"GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n"
        writer.write(request % (b"/api/cameras", scheme % (b"\xff", b"\xff")))
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()

    assert serve(test, house(), auth="basic").gate.wrong_passwords == 1


def test_too_many_guesses_lock_the_address_out_even_with_the_right_password() -> None:
    noted: list[AccessEvent] = []

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        for number in range(3):
            async with session.get(STILL, headers=basic("guard", f"guess {number}")) as answer:
                assert answer.status == 401
        async with session.get(STILL, headers=basic("guard", "s3cret")) as answer:
            assert answer.status == 403
            assert 0 < int(answer.headers["Retry-After"]) <= 61

        for number in range(50):
            async with session.get(f"/api/cameras/{number}/frame.jpg", headers=basic("guard", "guess")) as answer:
                assert answer.status == 403

    guesses = Guesses(3, 60.0)
    serve(test, house(), auth="basic", guesses=guesses, audit=noted.append)
    assert [event.kind for event in noted] == ["refused"] * 3 + ["blocked"]
    assert noted[-1] == AccessEvent("blocked", "", "127.0.0.1", "")
    assert guesses.wait("127.0.0.1", 0) > 0, "the RTSP server knows of it"


def test_an_audit_that_fails_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def full(event: AccessEvent) -> None:
        raise OSError("the disk is full")

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        assert (await ask(session, STILL, "guard", "s3cret"))[0] == 200

    serve(test, house(), audit=full)
    assert "the audit failed" in caplog.text


def test_no_picture_is_no_error() -> None:
    async def nothing(camera: str) -> bytes | None:
        return None

    async def never(camera: str) -> bytes | None:
        await asyncio.sleep(60)
        return JPEG

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get(STILL) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")

    for make in (nothing, never):
        proxy = house()
        proxy.make = make
        serve(test, proxy, auth="none", still_timeout=0.2)


def test_all_who_ask_at_once_share_one_still_and_none_is_old() -> None:
    proxy = house()

    async def slow(camera: str) -> bytes | None:
        await asyncio.sleep(0.2)
        return f"{len(proxy.asked)}".encode()

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async def get() -> bytes:
            async with session.get(STILL) as answer:
                return await answer.read()

        assert set(await asyncio.gather(*(get() for _ in range(20)))) == {b"1"}
        assert await get() == b"2"

    proxy.make = slow
    serve(test, proxy, auth="none")


def test_a_client_that_leaves_does_not_take_the_still_from_others() -> None:
    proxy = house()

    async def slow(camera: str) -> bytes | None:
        await asyncio.sleep(0.3)
        return JPEG

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        leaver = asyncio.create_task(session.get(STILL).__aenter__())
        await asyncio.sleep(0.1)
        stayer = asyncio.create_task(session.get(STILL).__aenter__())
        await asyncio.sleep(0.05)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        async with await stayer as answer:
            assert await answer.read() == JPEG

    proxy.make = slow
    serve(test, proxy, auth="none")
    assert proxy.asked == ["gate"]


def test_health_and_readiness_need_no_password_and_name_no_camera() -> None:
    proxy = House(gate=view(GUARD), yard=view(OTHER, online=False))

    async def ready(session: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
        async with session.get("/readyz") as answer:
            assert "gate" not in await answer.text()
            return answer.status, await answer.json()

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        assert await ready(session) == (503, {"ready": False, "cameras": 2, "online": 1, "waiting": 1})
        proxy.views["yard"] = view(OTHER, online=False, reason="the password is refused")
        assert await ready(session) == (200, {"ready": True, "cameras": 2, "online": 1, "waiting": 0})

    serve(test, proxy)


def test_metrics() -> None:
    counters = CameraCounters(frames_in=10, frames_covered=2, queue_drops=1, detector_runs=4, detector_seconds=0.5)
    for value in (0.03, 0.03, 0.4, 9.0):
        counters.latency.observe(value)
    gate = dataclasses.replace(view(GUARD, faces=3, fps=24.9, degraded=True, clients=2), counters=counters)
    found: dict[tuple[str, str], float] = {}

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        async with session.get("/metrics") as answer:
            for family in text_string_to_metric_families(await answer.text()):
                for sample in family.samples:
                    labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                    found[sample.name, labels] = sample.value

    serve(test, House(gate=gate, yard=view(OTHER)))
    camera = "anonymizer_camera_"
    assert found[f"{camera}faces", "camera=gate"] == 3
    assert found[f"{camera}fps", "camera=gate"] == 24.9
    assert found[f"{camera}degraded", "camera=gate"] == 1
    assert found[f"{camera}clients", "camera=yard"] == 0
    assert found[f"{camera}frames_in_total", "camera=gate"] == 10
    assert found[f"{camera}frames_covered_total", "camera=gate"] == 2
    assert found[f"{camera}queue_drops_total", "camera=gate"] == 1
    assert found[f"{camera}detector_seconds_total", "camera=gate"] == 0.5
    assert found[f"{camera}latency_seconds_bucket", "camera=gate,le=0.04"] == 2
    assert found[f"{camera}latency_seconds_bucket", "camera=gate,le=0.5"] == 3
    assert found[f"{camera}latency_seconds_bucket", "camera=gate,le=+Inf"] == 4
    assert found[f"{camera}latency_seconds_count", "camera=gate"] == 4
    assert found[f"{camera}latency_seconds_sum", "camera=gate"] == pytest.approx(9.46)
    assert found["anonymizer_mqtt_events_dropped_total", ""] == 7
    assert found["anonymizer_http_wrong_passwords_total", ""] == 0
    assert found["process_resident_memory_bytes", ""] > 0
    assert not any("reason" in name for name, _ in found)


@pytest.mark.parametrize(
    ("metrics", "forwarded", "status"),
    [("local", False, 200), ("local", True, 403), ("open", True, 200), ("off", False, 404)],
)
def test_who_may_read_the_metrics(metrics: str, forwarded: bool, status: int) -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        headers = {"X-Forwarded-For": "192.0.2.1"} if forwarded else {}
        async with session.get("/metrics", headers=headers) as answer:
            assert answer.status == status

    serve(test, house(), metrics=metrics)


def test_a_connection_beyond_the_limit_is_closed_at_once() -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        assert server.port is not None
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        for _, writer in held:
            writer.close()

    serve(test, house(), connections=2, idle_timeout=60.0)


def test_a_connection_without_a_whole_request_is_closed() -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        assert server.port is not None
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost:"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    serve(test, house(), idle_timeout=0.5)


def test_a_connection_that_takes_no_answer_is_closed() -> None:
    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", server.port))
            with contextlib.suppress(TimeoutError, ConnectionError):
                flood = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 40_000
                await asyncio.wait_for(loop.sock_sendall(deaf, flood), 0.5)
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get("/healthz") as answer:
                            assert answer.status == 200
                            return
                    await asyncio.sleep(0.1)

    serve(test, house(), connections=1, idle_timeout=1.0)


def test_the_end_does_not_wait_for_slow_requests() -> None:
    proxy = house()

    async def never(camera: str) -> bytes | None:
        await asyncio.sleep(60)
        return None

    async def test(session: aiohttp.ClientSession, server: HttpServer) -> None:
        hanging = asyncio.create_task(session.get(STILL).__aenter__())
        while not proxy.asked:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            await server.stop()
        (outcome,) = await asyncio.gather(hanging, return_exceptions=True)
        assert isinstance(outcome, aiohttp.ClientError | aiohttp.ClientResponse)
        if isinstance(outcome, aiohttp.ClientResponse):
            outcome.close()

    proxy.make = never
    serve(test, proxy, auth="none", still_timeout=50.0)


def test_a_page_of_ones_own() -> None:
    from aiohttp import web

    server = HttpServer(HttpSettings(host="127.0.0.1", port=0), house(), guesses=Guesses(10, 60.0))

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def run() -> None:
        server.app.router.add_get("/", page)
        await server.start()
        async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/") as answer:
            assert await answer.text() == "hello"
        await server.stop()
        assert server.port is None

    asyncio.run(run())


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    async def start(**settings: Any) -> None:
        given = HttpSettings(**{"host": "127.0.0.1", "port": 0} | settings)
        server = HttpServer(given, house(), guesses=Guesses(10, 60.0))
        try:
            await server.start()
        finally:
            await server.stop()

    async def twice() -> None:
        first = HttpServer(HttpSettings(host="127.0.0.1", port=0), house(), guesses=Guesses(10, 60.0))
        await first.start()
        try:
            await start(port=first.port)
        finally:
            await first.stop()

    with pytest.raises(PublishError, match="set another port"):
        asyncio.run(twice())
    with pytest.raises(ConfigError, match="no address of this machine"):
        asyncio.run(start(host="256.0.0.1"))
    with pytest.raises(ConfigError, match=r"nowhere\.pem .* cannot be used"):
        asyncio.run(start(tls=True, certificate=str(tmp_path / "nowhere.pem"), private_key="x"))
    with pytest.raises(InvalidFile, match="needs certificate and private_key"):
        build(HttpSettings, parse("tls: true\n", "config.yaml"))
