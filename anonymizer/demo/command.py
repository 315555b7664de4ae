"""``anonymizer demo``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from anonymizer.config import CameraSettings, Config, FacesSettings
from anonymizer.demo import before, camera
from anonymizer.demo.page import Page
from anonymizer.errors import SourceError
from anonymizer.ingest.camera import SourceSettings
from anonymizer.publish.settings import RtspSettings
from anonymizer.service import Service
from anonymizer.settings import Secret, number
from anonymizer.web.settings import HttpSettings


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("demo", help="see it work: a synthetic camera, or your own, before and after")
    command.add_argument("--source", default="", metavar="URL", help="rtsp:// address, /dev/video0 or a video file")
    command.add_argument("--rtsp-port", type=number(RtspSettings, "port"), default=8554)
    command.add_argument("--page-port", type=number(HttpSettings, "port"), default=8080)
    command.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> int:
    context = multiprocessing.get_context("spawn")
    children = []

    def start(target: Any, *arguments: Any) -> None:
        child = context.Process(target=target, args=arguments, daemon=True)
        child.start()
        children.append(child)

    try:
        source = given.source
        if not source:
            print("drawing a street …", flush=True)
            theirs, ours = context.Pipe()
            start(camera.main, theirs)
            if not ours.poll(60):
                raise SourceError("the synthetic camera did not start within a minute")
            source = f"rtsp://127.0.0.1:{ours.recv()}/street"
        settings = SourceSettings.given(url=Secret(source))
        if "://" not in settings.shown() and not Path(settings.shown()).exists():
            raise SourceError(f"{settings.shown()}: there is no such file or device")
        sender, pictures = context.Pipe()
        start(before.main, settings, sender)
        sender.close()  # so that the other end notices when the child is gone
        with tempfile.TemporaryDirectory(prefix="anonymizer-demo-") as folder:
            asyncio.run(_serve(given, settings, pictures, folder))
    finally:
        for child in children:
            child.kill()
            child.join(2)
    print("ended")
    return 0


async def _serve(given: argparse.Namespace, source: SourceSettings, pictures: Connection, folder: str) -> None:
    config = Config(
        faces=FacesSettings(lookahead=0.0),
        rtsp=RtspSettings(host="127.0.0.1", port=given.rtsp_port, auth="none"),
        http=HttpSettings(host="127.0.0.1", port=given.page_port, auth="none"),
        state_dir=folder,
        cameras={"demo": CameraSettings(source=source)},
    )
    service = Service(config)
    newest: bytes | None = None

    def take() -> None:
        nonlocal newest
        with contextlib.suppress(EOFError, OSError):
            while True:
                newest = pictures.recv_bytes()

    async def seen_before() -> bytes | None:
        return newest

    async def seen_after() -> bytes | None:
        return await service.cameras["demo"].still(1.0)

    threading.Thread(target=take, name="before", daemon=True).start()

    def rtsp() -> str:
        return f"rtsp://127.0.0.1:{service.rtsp.port}/demo"

    Page(service.http.app, rtsp, seen_before, seen_after)
    running = asyncio.create_task(service.run())
    ready = asyncio.create_task(service.ready.wait())
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        print(f"\n  page  http://127.0.0.1:{service.http.port}/\n  RTSP  {rtsp()}\n\nCtrl-C ends it.", flush=True)
    ready.cancel()
    await running
