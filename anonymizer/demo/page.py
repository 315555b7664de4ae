"""A page with the camera's picture beside the anonymised one, as motion JPEG. For the demo only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from anonymizer.web.local import by_own_name

Still = Callable[[], Awaitable[bytes | None]]
_RATE = 12.0

_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>anonymizer demo</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px system-ui, sans-serif; margin: 1.5rem; background: #f4f4f2; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; aspect-ratio: 16 / 9; background: #ddd; display: block }
figcaption { padding: .4rem 0; color: #555 } code { background: #e6e6e2; padding: .1rem .3rem }
</style>
<h1>anonymizer</h1>
<p>What recorders get: <code>RTSP</code></p>
<main>
<figure><img src="/before.mjpeg" alt="from the camera"><figcaption>From the camera</figcaption></figure>
<figure><img src="/after.mjpeg" alt="anonymised"><figcaption>Anonymised</figcaption></figure>
</main>
"""


class Page:
    """Adds the page to an HTTP server's routes, which then answer this machine's own names only. rtsp: gives the
    address shown; before, after: give the newest JPEGs."""

    def __init__(self, app: web.Application, rtsp: Callable[[], str], before: Still, after: Still) -> None:
        app.middlewares.append(by_own_name)
        self._rtsp = rtsp
        app.router.add_get("/", self._page)
        app.router.add_get("/before.mjpeg", partial(self._stream, still=before))
        app.router.add_get("/after.mjpeg", partial(self._stream, still=after))

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=_HTML.replace("RTSP", self._rtsp()), content_type="text/html")

    @staticmethod
    async def _stream(request: web.Request, still: Still) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=picture"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # the page was closed
            while True:
                picture = await still()
                if picture is not None:
                    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    await response.write(head.encode() + picture + b"\r\n")
                await asyncio.sleep(1 / _RATE)
        return response
