"""Looking at an export before it leaves: a page on this machine with the redacted pictures, never the originals.

The reviewer boxes a face that was missed, or says that a track is no third person's; the export is made again, and the
page shows the new pictures. A sign-off counts for exactly the pictures that are shown.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.export import review_page, subject
from anonymizer.export.contents import Signoff
from anonymizer.export.deliver import Made
from anonymizer.export.job import Job
from anonymizer.export.marks import Mark
from anonymizer.record import label
from anonymizer.web.local import by_own_name

Make = Callable[[dict[str, list[Mark]]], tuple[Made, subject.Told]]

_COOKIE = "review"
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; "
_POLICY += "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed off."""

    made: Made
    signoff: Signoff


class Session:
    """The export under review. make: makes it again with corrections; runs in a thread, one at a time."""

    def __init__(self, job: Job, make: Make, made: Made, told: subject.Told, marks: dict[str, list[Mark]]) -> None:
        self.job, self._make = job, make
        self.made, self.told, self.marks = made, told, marks
        self.version = 1
        """Counts how often the pictures were made; a sign-off names it."""
        self.busy = False
        self.problem = ""

    def state(self) -> dict[str, Any]:
        """What the page shows, as JSON data; the least certain moments first."""
        moments = [
            {"video": name, **asdict(moment), "from": label.utc(moment.start), "to": label.utc(moment.stop)}
            for name, found in self.told.moments.items()
            for moment in found
        ]
        return {
            "version": self.version, "busy": self.busy, "problem": self.problem,
            "videos": [
                {"name": v.name, "camera": v.camera, "start": v.start, "stop": v.stop} for v in self.made.videos
            ],
            "moments": sorted(moments, key=lambda m: (m["sure"], m["start"])),
            "marks": {name: [asdict(mark) for mark in marks] for name, marks in self.marks.items()},
        }  # fmt: skip

    def accept(self, given: Mapping[str, Any]) -> dict[str, list[Mark]]:
        """Corrections by video. ConfigError for what is none, or may not be made."""
        names = {video.name for video in self.made.videos}
        lists = isinstance(given, dict) and all(isinstance(found, list) for found in given.values())
        if not lists or set(given) - names:
            raise ConfigError("corrections are lists by video, of videos in this export")
        marks = {name: [Mark.parse(one) for one in found] for name, found in given.items() if found}
        for name, found in marks.items():
            if problems := subject.released(found, self.told.moments.get(name, [])):
                raise ConfigError("; ".join(problems))
        return marks

    def again(self, marks: dict[str, list[Mark]]) -> None:
        """Make the export with these corrections. What fails is told, and what was there stays."""
        try:
            self.made, self.told = self._make(marks)
            self.marks, self.problem = marks, ""
            noted = {name: [asdict(mark) for mark in found] for name, found in marks.items()}
            self.job.note("marks.json", noted)
            self.version += 1
        except AnonymizerError as error:
            self.problem = str(error)

    def sign(self, reviewer: str, version: int, seen: int, now: float) -> Signed:
        """ConfigError where there is no name, or other pictures are meant than are there now."""
        if not reviewer.strip():
            raise ConfigError("a sign-off needs the reviewer's name")
        if self.busy or version != self.version:
            raise ConfigError("the pictures were made again meanwhile; look at them first")
        changes = tuple(
            f"{name}: {_told(mark)}" for name, marks in sorted(self.marks.items()) for mark in marks
        )  # fmt: skip
        return Signed(self.made, Signoff(reviewer.strip(), now, seen, changes))


def _told(mark: Mark) -> str:
    times = f"{label.utc(mark.start)} to {label.utc(mark.stop)}"
    return f"a box added, {times}" if mark.what == "cover" else f"track {mark.track} taken away, {times}"


def serve(session: Session, *, announce: Callable[[str], None], port: int = 0) -> Signed:
    """Serve the page on 127.0.0.1 until it is signed off; announce is told its address, which opens once.

    ConfigError where the reviewer turns the export down.
    """
    return asyncio.run(_serve(session, announce, port))


async def _serve(session: Session, announce: Callable[[str], None], port: int) -> Signed:
    done: asyncio.Future[Signed] = asyncio.get_running_loop().create_future()
    pages = Pages(session, done)
    runner = web.AppRunner(pages.app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        port = runner.addresses[0][1]
        announce(f"http://127.0.0.1:{port}/?token={pages.token}")
        return await done
    finally:
        await runner.cleanup()


class Pages:
    """The HTTP side. token: opens the page once; who opened it has a cookie, and nobody else gets anything."""

    def __init__(self, session: Session, done: asyncio.Future[Signed]) -> None:
        self.token: str = secrets.token_urlsafe(32)
        self._cookie = ""
        self._session, self._done = session, done
        self._making: asyncio.Task[None] | None = None
        self.app = web.Application(client_max_size=1 << 20, middlewares=[by_own_name, self._guard])
        self.app.router.add_get("/", self._page)
        self.app.router.add_get("/review.js", self._script)
        self.app.router.add_get("/review.css", self._style)
        self.app.router.add_get("/state", self._state)
        self.app.router.add_get("/video/{version}/{name}", self._video)
        self.app.router.add_post("/marks", self._marks)
        self.app.router.add_post("/sign", self._sign)
        self.app.router.add_post("/refuse", self._refuse)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        """Only this machine's browser that was given the address; no other site's script."""
        if request.method != "GET" and request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="only the page itself may ask this")
        given = request.query.get("token")
        if request.path == "/" and given is not None:
            if not self.token or not secrets.compare_digest(given.encode(), self.token.encode()):
                raise web.HTTPForbidden(text="this address was opened already; start the review again")
            self.token, self._cookie = "", secrets.token_urlsafe(32)
            answer: web.StreamResponse = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="Strict", path="/")
            return answer
        known = request.cookies.get(_COOKIE, "")
        if not self._cookie or not secrets.compare_digest(known.encode(), self._cookie.encode()):
            raise web.HTTPForbidden(text="open the address that was announced")
        answer = await handler(request)
        answer.headers.update({
            "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        })  # fmt: skip
        return answer

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=review_page.HTML, content_type="text/html")

    async def _script(self, request: web.Request) -> web.Response:
        return web.Response(text=review_page.SCRIPT, content_type="text/javascript")

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(text=review_page.STYLE, content_type="text/css")

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._session.state())

    async def _video(self, request: web.Request) -> web.StreamResponse:
        for video in self._session.made.videos:
            if video.name == request.match_info["name"]:
                return web.FileResponse(video.path)
        raise web.HTTPNotFound

    async def _marks(self, request: web.Request) -> web.Response:
        session = self._session
        if session.busy:
            return web.json_response({"problem": "the export is being made; wait for it"}, status=409)
        try:
            marks = session.accept(await request.json())
        except (ConfigError, ValueError) as error:
            return web.json_response({"problem": str(error)}, status=400)
        session.busy = True
        self._making = asyncio.create_task(self._make(marks))
        return web.json_response({})

    async def _make(self, marks: dict[str, list[Mark]]) -> None:
        try:
            await asyncio.to_thread(self._session.again, marks)
        except Exception as error:  # the reviewer must learn of it, and the pictures before stay
            self._session.problem = f"making it again failed: {error}"
        finally:
            self._session.busy = False

    async def _sign(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            if self._session.accept(asked["marks"]) != self._session.marks:
                raise ConfigError("there are corrections that are not made yet: make the export again first")
            signed = self._session.sign(str(asked["reviewer"]), int(asked["version"]), int(asked["seen"]), time.time())
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            return web.json_response({"problem": str(error)}, status=400)
        asyncio.get_running_loop().call_later(0.2, self._end, signed)  # once the answer has left
        return web.json_response({})

    async def _refuse(self, request: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.2, self._end, ConfigError("the reviewer turned the export down"))
        return web.json_response({})

    def _end(self, result: Signed | ConfigError) -> None:
        if self._done.done():
            return
        if isinstance(result, ConfigError):
            self._done.set_exception(result)
        else:
            self._done.set_result(result)
