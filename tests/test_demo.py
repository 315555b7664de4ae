"""The demo's page and its children."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from anonymizer.demo.page import Page


def test_the_cameras_picture_is_shown_by_this_machines_own_name_only() -> None:
    async def still() -> bytes:
        return b"picture"

    async def run() -> None:
        app = web.Application()
        Page(app, "rtsp://…", still, still)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]

        async def asked(path: str, host: str) -> int:
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}", headers={"Host": host}) as answer:
                return answer.status

        for path in ("/", "/before.mjpeg", "/after.mjpeg"):
            for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "localhost:1"):
                assert await asked(path, host) == 403
            assert {await asked(path, f"{name}:{port}") for name in ("127.0.0.1", "localhost")} == {200}
        await runner.cleanup()

    asyncio.run(run())
