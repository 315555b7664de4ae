"""The synthetic camera: the drawn scene, served by our own RTSP server from a process of its own."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from multiprocessing.connection import Connection

import av
import numpy as np

from anonymizer import registry
from anonymizer.demo.scene import HEIGHT, RATE, WIDTH, Scene
from anonymizer.publish import RtspSettings, Stream
from anonymizer.publish.live import LiveEncoder, LiveSettings
from anonymizer.publish.server import Server
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.threads import end_with_parent


def main(ready: Connection) -> None:
    """Serve rtsp://127.0.0.1:PORT/street until killed or the parent is gone; the port goes into ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    asyncio.run(_serve(ready))


async def _serve(ready: Connection) -> None:
    bank = Bank(FaceModel.load(registry.resolve("face-model", "auto")), secrets.token_bytes(32))
    scene = Scene(bank)
    encoder = LiveEncoder(WIDTH, HEIGHT, False, RATE, LiveSettings(preset="ultrafast", keyframe_interval=1.0))
    stream = Stream("street", request_key=encoder.request_key)
    server = Server(RtspSettings(host="127.0.0.1", port=0, udp=False, auth="none"))
    server.mount("street", stream)
    await server.start()
    ready.send(server.port)
    start, index = time.time(), 0
    while True:
        # Counted from the start, so that the clock does not drift; never faster than the pictures can be drawn.
        await asyncio.sleep(max(0.001, start + index / RATE - time.time()))
        drawn = await asyncio.to_thread(scene.draw, index)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="bgr24").reformat(format="yuv420p")
        now = time.time()
        for unit in encoder.encode(frame, now, now):
            stream.publish(unit)
        index = max(index + 1, int((now - start) * RATE))
