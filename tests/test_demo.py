"""The demo's page and its children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import aiohttp
import pytest
from aiohttp import web

from anonymizer.demo.page import Page


def test_the_cameras_picture_is_shown_by_this_machines_own_name_only() -> None:
    async def still() -> bytes:
        return b"picture"

    async def run() -> None:
        app = web.Application()
        Page(app, lambda: "rtsp://…", still, still)
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


_PARENT = """
import multiprocessing, time
from anonymizer.demo import before, camera
from anonymizer.ingest.camera import SourceSettings
from anonymizer.settings import Secret
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=CHILD.main, args=ARGUMENTS, daemon=True)
    child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("child", "arguments"), [("before", "(SourceSettings(url=Secret('none.mp4')), theirs)"), ("camera", "(theirs,)")]
)
def test_children_end_with_a_demo_that_is_killed(child: str, arguments: str) -> None:
    script = _PARENT.replace("CHILD", child).replace("ARGUMENTS", arguments)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        wait = time.monotonic() + 30
        while _runs(pid):
            assert time.monotonic() < wait, "the child outlived its parent"
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    """A dead process that nobody waits for, as in a container without init, does not run."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
