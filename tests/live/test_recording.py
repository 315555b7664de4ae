"""The service records what it serves, and its audit holds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyrage
import pytest
from pyrage.x25519 import Identity

from anonymizer import cli
from tests.conftest import ROOT, need
from tests.live import rig, stamp
from tests.live.rig import Camera, Proxy


def test_the_vault_holds_the_cameras_own_pictures_sealed(shared: Path, tmp_path: Path) -> None:
    need("ffmpeg")
    rig.need_gst_server()
    officer = Identity.generate()
    clip = rig.loop(shared / "footage" / "video" / "asl" / "walk.mkv", tmp_path / "clip.mp4", 20)
    camera = Camera(gate=clip)
    vault = {"recipients": [str(officer.to_public())], "folder": str(tmp_path / "vault")}
    proxy = Proxy(tmp_path, cameras={"gate": {"source": {"url": camera.url("gate")}, "record": {"vault": vault}}})
    try:
        proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
        time.sleep(6)
    finally:
        proxy.stop()
        camera.kill()
    sealed = sorted((tmp_path / "vault").rglob("*.age"))
    assert len(sealed) >= 3, proxy.log.read_text()
    opened = tmp_path / "opened.mp4"
    opened.write_bytes(pyrage.decrypt(sealed[0].read_bytes(), [officer]))
    assert len(list(stamp.lumas(opened))) > 5
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed[0].read_bytes(), [Identity.generate()])


def test_segments_play_and_the_audit_holds(shared: Path, tmp_path: Path) -> None:
    need("ffmpeg", "ffprobe")
    rig.need_gst_server()
    clip = rig.loop(shared / "footage" / "video" / "asl" / "walk.mkv", tmp_path / "clip.mp4", 20)
    camera = Camera(gate=clip)
    record = {"enabled": True, "segment": 2, "folder": str(tmp_path / "recordings")}
    proxy = Proxy(tmp_path, cameras={"gate": {"source": {"url": camera.url("gate")}, "record": record}})
    try:
        proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
        time.sleep(8)
    finally:
        proxy.stop()
        camera.kill()
    segments = sorted((tmp_path / "recordings").rglob("*.mp4"))
    assert len(segments) >= 2, proxy.log.read_text()
    pictures = 0
    for segment in segments:
        command = [
            "ffprobe",
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=nb_read_frames",
            "-of",
            "csv=p=0",
        ]
        told = subprocess.run([*command, str(segment)], capture_output=True, text=True, check=True)
        assert not told.stderr
        pictures += int(told.stdout.split(",")[0])
    assert pictures > 120
    listed = subprocess.run(
        [sys.executable, "-m", "anonymizer.cli", "recordings", "list", "--state", str(tmp_path / "state")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout.count("gate") >= 2
    key = str(tmp_path / "state" / "signing.pub")
    assert cli.main(["audit", "verify", "--state", str(tmp_path / "state"), "--trust", key]) == 0
