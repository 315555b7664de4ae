"""A camera, the proxy and a broker, each a process of its own, for the tests of the whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

DEBIAN_PYTHON = "/usr/bin/python3"


def need_gst_server() -> None:
    if not Path(DEBIAN_PYTHON).exists():
        pytest.skip(f"needs {DEBIAN_PYTHON} with the bindings of gst-rtsp-server")
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([DEBIAN_PYTHON, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0 and python3-gi")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, true: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Wait until true() is, and return what it gave."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := true():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {timeout:.0f} s")


def loop(source: Path, target: Path, times: int, size: str = "", rate: int = 0) -> Path:
    """A clip as a camera would send it: no B-frames, a key frame a second, played ``times`` times over."""
    once = target.with_name(f"once-{target.name}")
    shape = ["-vf", f"scale={size}"] if size else []
    pace = ["-r", str(rate)] if rate else []
    encoder = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "21",
        "-bf",
        "0",
        "-g",
        "25",
        "-an",
        "-pix_fmt",
        "yuv420p",
    ]
    quiet = ["ffmpeg", "-v", "error", "-y"]
    subprocess.run([*quiet, "-i", str(source), *shape, *pace, *encoder, str(once)], check=True)
    subprocess.run([*quiet, "-stream_loop", str(times - 1), "-i", str(once), "-c", "copy", str(target)], check=True)
    return target


class Camera:
    """gst-rtsp-server with the given files; ``kill`` ends it as a power cut would."""

    def __init__(self, port: int | None = None, login: str = "", **files: Path) -> None:
        self.port = port or free_port()
        self._arguments = [f"{name}={path}" for name, path in files.items()] + ([login] if login else [])
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("gst_camera.py")
        self._process = subprocess.Popen(
            [DEBIAN_PYTHON, str(script), str(self.port), *self._arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "serving"

    def url(self, name: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{name}"

    def freeze(self, frozen: bool = True) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Broker:
    """mosquitto, and what was said on it."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for("the broker", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


_ANY_CERTIFICATE = ssl._create_unverified_context()  # a test's own, signed by nobody


class Proxy:
    """``anonymizer run`` with a configuration; HTTP tells how it does."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, **settings: Any) -> None:
        self.rtsp_port, self.http_port = free_port(), free_port()
        self.config = folder / "config.yaml"
        self.settings: dict[str, Any] = {
            "rtsp": {"host": "127.0.0.1", "port": self.rtsp_port, "udp_port": 0, "auth": "none"},
            "http": {"host": "127.0.0.1", "port": self.http_port, "auth": "none"},
            "state_dir": str(folder / "state"),
            **settings,
        }
        self.write()
        self.log = folder / "proxy.log"
        command = [sys.executable, "-m", "anonymizer.cli", "-v", "run", str(self.config)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
            )
        wait_for("the proxy's HTTP server", lambda: self._get("/healthz") is not None or self._ended())

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings))

    def _ended(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended: {self.log.read_text()}")
        return False

    def _get(self, path: str) -> bytes | None:
        try:
            http = self.settings["http"]
            url = f"{'https' if http.get('tls') else 'http'}://127.0.0.1:{http['port']}{path}"
            with urllib.request.urlopen(url, timeout=3, context=_ANY_CERTIFICATE) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def url(self, name: str) -> str:
        return f"rtsp://127.0.0.1:{self.rtsp_port}/{name}"

    def state(self, camera: str) -> dict[str, Any]:
        states = json.loads(self._get("/api/cameras") or b"[]")
        return next((one for one in states if one["name"] == camera), {})

    def still(self, camera: str) -> bytes | None:
        return self._get(f"/api/cameras/{camera}/frame.jpg")

    def metric(self, name: str, camera: str) -> float:
        text = (self._get("/metrics") or b"").decode()
        line = next(
            line for line in text.splitlines() if line.startswith(f'anonymizer_camera_{name}{{camera="{camera}"}}')
        )
        return float(line.split()[-1])

    def wait_until(self, camera: str, timeout: float = 30.0, **expected: Any) -> dict[str, Any]:
        """Wait for a state; a value that is callable is asked."""

        def there() -> dict[str, Any] | None:
            state = self.state(camera)
            good = all(v(state.get(k)) if callable(v) else state.get(k) == v for k, v in expected.items())
            return state if state and good else None

        try:
            return dict(wait_for(f"{camera} {expected}", there, timeout))
        except AssertionError as error:
            raise AssertionError(f"{error}; last {self.state(camera)}; log: {self.log.read_text()[-2000:]}") from None

    def worker(self) -> int:
        """Process id of the only camera's worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise AssertionError("there is no worker")

    def stop(self) -> float:
        """SIGTERM; returns how long the end took."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        return time.monotonic() - start
