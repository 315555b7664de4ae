"""What a running service tells the audit: logins over RTSP and HTTP, a camera that is away, a worse picture."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from anonymizer import config
from anonymizer.events.state import CameraCounters
from anonymizer.publish.server import AccessEvent
from anonymizer.record import audit
from anonymizer.service import Service
from anonymizer.supervisor import DROPPED, Supervisor
from tests.conftest import need

CONFIG = """
state_dir: {state}
rtsp: {{host: 127.0.0.1, port: 0, udp: false}}
http: {{host: 127.0.0.1, port: 0}}
cameras:
  gate:
    source: {{url: "rtsp://127.0.0.1:9/none"}}
    users: {{nvr: "file:{password}"}}
"""


def watch(port: int, password: str) -> int:
    """Ask for the stream as a player does; the player's exit code."""
    url = f"rtsp://nvr:{password}@127.0.0.1:{port}/gate"
    command = ["ffmpeg", "-v", "quiet", "-rtsp_transport", "tcp", "-i", url, "-frames:v", "1", "-f", "null", "-"]
    return subprocess.run(command, timeout=60, check=False, stdin=subprocess.DEVNULL).returncode


def still(port: int, password: str) -> int:
    """Ask for a still; the answer's status."""
    url = f"http://127.0.0.1:{port}/api/cameras/gate/frame.jpg"
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, url, "nvr", password)
    try:
        with urllib.request.build_opener(urllib.request.HTTPDigestAuthHandler(passwords)).open(
            url, timeout=20
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_rules_that_come_into_force_are_on_record(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right-password")
    rules = tmp_path / "rules.yaml"
    rules.write_text("default: replace\n")
    text = CONFIG.format(state=tmp_path / "state", password=tmp_path / "password")
    (tmp_path / "config.yaml").write_text(f"rules: {rules}\n{text}")
    service = Service(config.load(tmp_path / "config.yaml"), tmp_path / "config.yaml")

    async def scenario() -> None:
        running = asyncio.create_task(service.run())
        await asyncio.wait_for(service.ready.wait(), 30)
        await service.reload()  # nothing is new
        rules.write_text("default: solid\n")
        await service.reload()
        rules.write_text("default: keep\n")
        await service.reload()  # refused
        service.shut_down()
        await running

    asyncio.run(scenario())
    said = [entry.said for entry in audit.entries(tmp_path / "state") if entry.kind == "rules in force"]
    assert [one["camera"] for one in said] == ["gate", "gate"] and len({one["hash"] for one in said}) == 2
    assert all(one["file"] == str(rules) for one in said)


def test_logins_absent_cameras_and_worse_pictures_are_on_record(tmp_path: Path) -> None:
    need("ffmpeg")
    (tmp_path / "password").write_text("right-password")
    (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state", password=tmp_path / "password"))
    service = Service(config.load(tmp_path / "config.yaml"))

    async def scenario() -> None:
        running = asyncio.create_task(service.run())
        await asyncio.wait_for(service.ready.wait(), 30)
        rtsp, http = service.rtsp.port or 0, service.http.port or 0
        async with asyncio.timeout(60):
            while await asyncio.to_thread(watch, rtsp, "right-password"):  # the notice of the absent camera
                await asyncio.sleep(0.5)
        assert await asyncio.to_thread(watch, rtsp, "wrong-password")
        assert await asyncio.to_thread(still, http, "right-password") == 200
        assert await asyncio.to_thread(still, http, "wrong-password") == 401
        gone = service.cameras["gate"].state
        service.changed("gate", replace(gone, online=True, degraded=True, reason="no detection for 0.2 s"))
        service.shut_down()
        await running

    asyncio.run(scenario())
    told = [(entry.kind, entry.said) for entry in audit.entries(tmp_path / "state")]
    logins = [(kind, said["user"], said["path"]) for kind, said in told if kind.startswith("access")]
    for kind in ("access refused", "access accepted"):
        assert (kind, "nvr", "gate") in logins and (kind, "nvr", "/api/cameras/gate/frame.jpg") in logins, logins
    assert ("access play", "nvr", "gate") in logins
    kinds = [kind for kind, _ in told]
    assert "camera away" in kinds and ("picture degraded", "no detection for 0.2 s") in [
        (kind, said.get("reason")) for kind, said in told
    ]
    assert kinds[1] == "service started" and "service stopped" in kinds and audit.verify(tmp_path / "state").good
    assert b"password" not in (tmp_path / "state" / audit.FILE).read_bytes()


def test_a_stranger_cannot_write_lines_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state", password=tmp_path / "password"))
    service = Service(config.load(tmp_path / "config.yaml"))
    with caplog.at_level(logging.INFO):
        service._access(AccessEvent("refused", "q\x1b[2K\udcff", "192.0.2.1", "/x\nINFO forged\u2028" + "x" * 4000))
    service.audit.close()
    (line,) = [record.getMessage() for record in caplog.records if "192.0.2.1" in record.getMessage()]
    assert line.isprintable() and len(line) < 300
    assert "access refused" in [entry.kind for entry in audit.entries(tmp_path / "state")]


def test_dropped_frames_and_other_notices_are_on_record(tmp_path: Path) -> None:
    """Each time that a camera begins to drop frames, not for every report of it."""
    (tmp_path / "password").write_text("right-password")
    (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state", password=tmp_path / "password"))
    service = Service(config.load(tmp_path / "config.yaml"))
    supervisor = Supervisor("gate", {}, lambda epoch: pytest.fail("no worker is to start"), service)
    state = {"online": True, "protected": True, "degraded": False, "reason": "", "fps": 25.0, "latency_ms": 80.0}
    notices = []
    log, service.notice = service.notice, lambda *said: notices.append(said)  # type: ignore[method-assign]
    for dropped in (0, 0, 3, 7, 7, 9):
        counters = CameraCounters(frames_dropped=dropped).to_json()
        report = {"state": {**state, "faces": 0}, "counters": counters, "size": [640, 360], "clock": "", "audio": None}
        supervisor._take_state(report)
    assert notices == [("gate", "warning", DROPPED)] * 2
    log(*notices[0])
    service.audit.close()
    told = [entry.said for entry in audit.entries(tmp_path / "state") if entry.kind == "camera notice"]
    assert told == [{"camera": "gate", "level": "warning", "text": DROPPED}]
