"""An encoder that stands for a camera, the server in a thread of its own, and a bare RTSP client."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.publish import RtspSettings, Stream, User
from anonymizer.publish.server import Server
from tests.certificates import sign

WIDTH, HEIGHT, RATE = 320, 240, 25
CELL, BITS = 20, 12
PASSWORD = "a pass: word"
USERS = (User("viewer", PASSWORD),)


def number_in(luma: np.ndarray) -> int:
    """The picture's number, written by Encoder into the luma's upper left, uint8 (height, width)."""
    cells = luma[CELL // 2, CELL // 2 : CELL * BITS : CELL] > 128
    return int(sum(int(bit) << index for index, bit in enumerate(cells)))


class Encoder:
    """Moving pictures, each with its number in it (modulo 4096), as access units with the parameter sets in band."""

    def __init__(self, codec: Codec = Codec.H264, gop: int = 250, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.codec = codec
        self.number = 0
        self._shape = (height, width)
        self._context = av.CodecContext.create("libx264" if codec is Codec.H264 else "libx265", "w")
        self._context.width, self._context.height, self._context.pix_fmt = width, height, "yuv420p"
        self._context.framerate, self._context.thread_count = RATE, 1
        options = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "g": str(gop), "bf": "0"}
        if codec is Codec.H265:
            options["x265-params"] = "log-level=none:repeat-headers=1:pools=none"
        self._context.options = options
        self._want_key = False
        noise = np.random.default_rng(7).integers(40, 200, (height // 8, 2 * width // 8), np.uint8)
        self._scene = np.kron(noise, np.ones((8, 8), np.uint8))

    def request_key(self) -> None:
        self._want_key = True

    def next(self, time_s: float, wall: float) -> AccessUnit:
        height, width = self._shape
        luma = self._scene[:, (self.number * 2) % width :][:, :width].copy()
        for bit in range(BITS):
            luma[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if self.number >> bit & 1 else 16
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, picture in zip(frame.planes, (luma, None, None), strict=True):
            target = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            if picture is None:
                target[:] = 128
            else:
                target[:, :width] = picture
        frame.pts = self.number
        frame.pict_type = PictureType.I if self._want_key else PictureType.NONE
        self._want_key = False
        self.number += 1
        packets = self._context.encode(frame)
        assert len(packets) == 1
        return AccessUnit(self.codec, bytes(packets[0]), packets[0].is_keyframe, time_s, wall)


class Serving:
    """A server in a thread of its own. ``url`` holds user and password unless they are left out."""

    def __init__(self, settings: RtspSettings, paths: dict[str, Stream], users: tuple[User, ...]) -> None:
        self.events: list[Any] = []
        self.streams = paths
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: list[asyncio.Task[None]] = []
        self.server = Server(settings, audit=self.events.append)
        for path, stream in paths.items():
            self.server.mount(path, stream, users)
        self.call(self.server.start())

    @property
    def port(self) -> int:
        assert self.server.port is not None
        return self.server.port

    def url(self, path: str = "gate", login: str = "viewer:a%20pass%3A%20word@", tls: bool = False) -> str:
        scheme, port = ("rtsps", self.server.tls_port) if tls else ("rtsp", self.port)
        return f"{scheme}://{login}127.0.0.1:{port}/{path}"

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def do(self, work: Callable[[], Any]) -> Any:
        """Runs a function in the server's thread."""

        async def inside() -> Any:
            return work()

        return self.call(inside())

    def film(self, stream: Stream, encoder: Encoder, rate: float = RATE) -> None:
        """Publishes the encoder's pictures at their pace until the end of the test."""

        async def run() -> None:
            origin = time.monotonic()
            for index in range(1 << 30):
                await asyncio.sleep(max(0.0, origin + index / rate - time.monotonic()))
                stream.publish(encoder.next(1000 + index / rate, time.time()))

        async def start() -> None:
            self._tasks.append(asyncio.create_task(run()))

        self.call(start())

    def close(self) -> None:
        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.server.stop()

        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@dataclass
class Answer:
    status: int
    headers: dict[str, list[str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()][0]


@dataclass
class Client:
    """A bare RTSP client over one blocking socket; interleaved frames that come before an answer are kept."""

    port: int
    path: str = "gate"
    user: str = "viewer"
    password: str = PASSWORD
    host: str = "127.0.0.1"
    algorithm: str = "MD5"
    wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    nonce: str = ""
    session: str = ""
    cseq: int = 0
    buffer: bytes = b""

    def __post_init__(self) -> None:
        self.socket = self.wrap(socket.create_connection((self.host, self.port), 10))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    @property
    def base(self) -> str:
        return f"rtsp://{self.host}:{self.port}/{self.path}"

    def authorization(self, method: str, uri: str, **changed: str) -> str:
        def h(text: str) -> str:
            return hashlib.new("sha256" if self.algorithm == "SHA-256" else "md5", text.encode()).hexdigest()

        secret = h(f"{self.user}:anonymizer:{self.password}")
        given = {"username": self.user, "realm": "anonymizer", "nonce": self.nonce, "uri": uri}
        if self.algorithm != "MD5":
            given["algorithm"] = self.algorithm
        given |= changed
        given.setdefault("response", h(f"{secret}:{given['nonce']}:{h(f'{method}:{uri}')}"))
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in given.items())

    def send(self, method: str, uri: str | None = None, headers: dict[str, str] | None = None, body: str = "") -> None:
        self.cseq += 1
        uri = uri or self.base
        lines = {"CSeq": str(self.cseq), **({"Session": self.session} if self.session else {})}
        if self.nonce:
            lines["Authorization"] = self.authorization(method, uri)
        lines |= headers or {}
        if body:
            lines["Content-Length"] = str(len(body))
        text = f"{method} {uri} RTSP/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self.socket.sendall((text + "\r\n" + body).encode())

    def ask(self, method: str, uri: str | None = None, headers: dict[str, str] | None = None, body: str = "") -> Answer:
        """Sends a request, logs in if asked to and not yet done, and returns the answer."""
        self.send(method, uri, headers, body)
        answer = self.answer()
        if answer.status == 401 and not self.nonce:
            for offer in answer.headers["www-authenticate"]:
                if offer.startswith("Digest") and ("SHA-256" in offer) == (self.algorithm == "SHA-256"):
                    found = re.search(r'nonce="([^"]+)"', offer)
                    assert found
                    self.nonce = found[1]
                    return self.ask(method, uri, headers, body)
        return answer

    def answer(self) -> Answer:
        while True:
            if self.buffer[:1] == b"$":
                self.frames.append(self._frame())
                continue
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                self._more()
                continue
            first, *lines = self.buffer[:end].decode().split("\r\n")
            headers: dict[str, list[str]] = {}
            for line in lines:
                key, _, value = line.partition(": ")
                headers.setdefault(key.lower(), []).append(value)
            size = int(headers.get("content-length", ["0"])[0])
            while len(self.buffer) < end + 4 + size:
                self._more()
            body, self.buffer = self.buffer[end + 4 : end + 4 + size], self.buffer[end + 4 + size :]
            return Answer(int(first.split()[1]), headers, body)

    def frame(self) -> tuple[int, bytes]:
        """The next interleaved frame: channel and packet."""
        return self.frames.pop(0) if self.frames else self._frame()

    def _frame(self) -> tuple[int, bytes]:
        while len(self.buffer) < 4 or len(self.buffer) < 4 + int.from_bytes(self.buffer[2:4], "big"):
            self._more()
        assert self.buffer[:1] == b"$", self.buffer[:40]
        channel, end = self.buffer[1], 4 + int.from_bytes(self.buffer[2:4], "big")
        packet, self.buffer = self.buffer[4:end], self.buffer[end:]
        return channel, packet

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data

    def play(self, transport: str = "RTP/AVP/TCP;unicast;interleaved=0-1") -> Answer:
        """DESCRIBE, SETUP of the video, PLAY; the SETUP's answer."""
        assert self.ask("DESCRIBE").status == 200
        setup = self.ask("SETUP", f"{self.base}/trackID=0", {"Transport": transport})
        assert setup.status == 200
        self.session = setup["Session"].partition(";")[0]
        assert self.ask("PLAY").status == 200
        return setup

    def closed(self, within: float = 5.0) -> bool:
        """Whether the server closes the connection in time; media that comes before is passed over."""
        deadline = time.monotonic() + within
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(1 << 16):
                    return True
        except ConnectionError:
            return True
        except TimeoutError:
            pass
        return False


@dataclass
class Tools:
    Encoder: type[Encoder] = Encoder
    Client: type[Client] = Client
    Serving: type[Serving] = Serving
    number_in: Callable[[np.ndarray], int] = number_in
    users: tuple[User, ...] = USERS
    size: tuple[int, int] = (WIDTH, HEIGHT)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """What test modules use of this one."""
    return Tools()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files with a self-signed certificate and its key."""
    return sign(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """A factory of servers on free ports of the loopback; they end with the test."""
    started: list[Serving] = []

    def start(
        paths: dict[str, Stream] | None = None, users: tuple[User, ...] = USERS, filmed: bool = True, **settings: Any
    ) -> Serving:
        settings = {"host": "127.0.0.1", "port": 0, "udp_port": 0, "tls_port": 0} | settings
        encoder = Encoder()
        if paths is None:
            paths = {"gate": Stream("gate", request_key=encoder.request_key)}
        serving = Serving(RtspSettings(**settings), paths, users)
        started.append(serving)
        if filmed:
            serving.film(next(iter(paths.values())), encoder)
        return serving

    yield start
    for serving in started:
        serving.close()
