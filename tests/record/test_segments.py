from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from anonymizer import link
from anonymizer.access_unit import AccessUnit, AudioParameters, Codec
from anonymizer.record import label, mp4, writer
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.segments import FRAGMENT, Segmenter, heal, part_of
from tests.conftest import ROOT, need
from tests.record import units

if TYPE_CHECKING:
    from playwright.sync_api import Page


def record(folder: Path, stream: Iterator[AccessUnit], length: float = 4.0) -> list[File]:
    files: list[File] = []
    segmenter = Segmenter("gate", folder, length, files.append)
    segmenter.clock = "camera"
    for unit in stream:
        segmenter.take(unit)
    segmenter.close()
    return files


def decoded(path: Path | str) -> list[float]:
    with av.open(str(path)) as source:
        return [float(frame.time or 0) for frame in source.decode(video=0)]


def test_every_picture_lies_in_a_segment_at_its_time(tmp_path: Path) -> None:
    files = record(tmp_path, units.video(250))
    assert [file.frames for file in files] == [100, 100, 50]
    assert [file.start - units.WALL for file in files] == pytest.approx([0, 4, 8])
    assert files[0].keys == pytest.approx((0, 2)) and files[0].clock == "camera"
    for file in files:
        data = Path(file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256 and len(data) == file.bytes
        assert decoded(file.path) == pytest.approx(np.arange(file.frames) / 25, abs=1e-4)
        _, parts = mp4.parts(data)
        assert max(sum(part.durations) for part in parts) <= FRAGMENT * mp4.CLOCK
        assert [part.wall for part in parts] == pytest.approx(
            [file.start + p.start / mp4.CLOCK for p in parts], abs=1e-3
        )


def test_a_segment_says_camera_start_and_that_faces_are_synthetic(tmp_path: Path) -> None:
    (file,) = record(tmp_path, units.video(10))
    with av.open(file.path) as source:
        assert source.metadata["title"] == "gate"
        assert source.metadata["date"] == "2026-09-21T14:13:20.000Z"
        assert source.metadata["comment"] == label.NOTICE
    assert label.SOURCE_TYPE.encode() in Path(file.path).read_bytes()


def test_pictures_are_the_encoders_own(tmp_path: Path) -> None:
    stream = list(units.video(60))
    (file,) = record(tmp_path, iter(stream))
    decoder = av.CodecContext.create("h264", "r")
    want = [f.to_ndarray() for unit in stream for f in decoder.decode(av.Packet(unit.data))]
    want += [f.to_ndarray() for f in decoder.decode(None)]
    with av.open(file.path) as source:
        got = [frame.to_ndarray() for frame in source.decode(video=0)]
    assert len(got) == 60 and all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA])
def test_g711_becomes_aac(tmp_path: Path, codec: Codec) -> None:
    from anonymizer.record.sound import _TABLES

    files: list[File] = []
    segmenter = Segmenter("gate", tmp_path, 60, files.append)
    segmenter.audio = AudioParameters(codec, 8000)
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000 * 4) / 8000)
    codes = np.abs(_TABLES[codec][None, :] - tone[:, None]).argmin(1).astype(np.uint8)
    for index, unit in enumerate(units.video(100)):
        segmenter.take(unit)
        piece = codes[index * 320 : index * 320 + 320].tobytes()
        segmenter.take(AccessUnit(codec, piece, True, unit.time, unit.wall))
    segmenter.close()
    with av.open(files[0].path) as source:
        assert source.streams.audio[0].codec_context.name == "aac"
        heard = np.concatenate([f.to_ndarray()[0] for f in source.decode(audio=0)])
    middle = heard[8000:16000]
    assert len(heard) / 8000 == pytest.approx(4, abs=0.2)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("program", ["ffmpeg", "gst-launch-1.0"])
def test_players_decode_every_picture(tmp_path: Path, program: str) -> None:
    need(program)
    (file,) = record(tmp_path, units.video(75))
    out = tmp_path / "raw"
    if program == "ffmpeg":
        call = ["ffmpeg", "-v", "error", "-i", file.path, "-fps_mode", "passthrough", "-f", "rawvideo", str(out)]
    else:
        head, tail = f"filesrc location={file.path} ! qtdemux", f"filesink location={out}"
        call = ["gst-launch-1.0", "-q", *f"{head} ! h264parse ! avdec_h264 ! video/x-raw,format=I420 ! {tail}".split()]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60)
    assert not done.stderr.strip() or program != "ffmpeg"
    assert out.stat().st_size == 75 * 192 * 144 * 3 // 2


def test_a_browser_plays_pictures_and_sound(tmp_path: Path, page: Page) -> None:
    files: list[File] = []
    segmenter = Segmenter("gate", tmp_path, 60, files.append)
    segmenter.audio = AudioParameters(Codec.PCMU, 8000)
    for unit in units.video(50):
        segmenter.take(unit)
        segmenter.take(AccessUnit(Codec.PCMU, bytes(320), True, unit.time, unit.wall))
    segmenter.close()
    (tmp_path / "page.html").write_text(f"<video src='{Path(files[0].path).as_uri()}'></video>")
    page.goto((tmp_path / "page.html").as_uri())
    shown = page.evaluate(
        "async () => { const v = document.querySelector('video'); v.muted = true; await v.play();"
        " await new Promise(r => v.onended = r);"
        " return [v.getVideoPlaybackQuality().totalVideoFrames, v.webkitAudioDecodedByteCount > 0, v.duration] }"
    )
    assert shown == [50, True, pytest.approx(2, abs=0.2)]


def test_a_gap_a_turned_clock_and_a_new_size_begin_new_segments(tmp_path: Path) -> None:
    first, late = list(units.video(25)), list(units.video(25, start=10))
    turned = [replace(unit, wall=unit.wall + 5) for unit in units.video(25, start=11)]
    files = record(tmp_path, iter([*first, *late, *turned]), 60)
    assert [file.frames for file in files] == [25, 25, 25]
    assert files[2].start - files[1].start == pytest.approx(6)
    assert len({file.path for file in files}) == 3


def test_a_clock_set_back_overwrites_nothing(tmp_path: Path) -> None:
    files = [*record(tmp_path, units.video(10)), *record(tmp_path, units.video(10))]
    assert files[0].path != files[1].path and Path(files[0].path).exists()


@pytest.mark.parametrize("cut", [1, 9, 40, 500, 3000])
def test_a_cut_file_is_healed_to_its_last_whole_fragment(tmp_path: Path, cut: int) -> None:
    (file,) = record(tmp_path, units.video(90), 60)
    whole = Path(file.path).read_bytes()
    _, parts = mp4.parts(whole)
    part = part_of(Path(file.path))
    Path(file.path).unlink()
    part.write_bytes(whole[:-cut])
    kept = [p for p in parts if p.at + p.size <= len(whole) - cut]
    (healed,) = heal("gate", tmp_path, set())
    assert healed.frames == sum(len(p.keys) for p in kept) == len(decoded(healed.path))
    assert healed.stop == pytest.approx(kept[-1].wall + sum(kept[-1].durations) / mp4.CLOCK)
    assert hashlib.sha256(Path(healed.path).read_bytes()).hexdigest() == healed.sha256 and healed.healed
    assert not part.exists() and list(heal("gate", tmp_path, {healed.path})) == []


def test_a_file_without_a_whole_fragment_is_removed(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01").mkdir()
    part = tmp_path / "2026-01-01" / ".000000.000Z.mp4.part"
    part.write_bytes(b"\0\0\0\x18ftyp")
    assert list(heal("gate", tmp_path, set())) == [] and not part.exists()


def kill_and_heal(tmp_path: Path, seed: int) -> None:
    """Kill the recorder at a random moment: all but the open second is there, whole and in the catalogue."""
    state, folder = tmp_path / f"state{seed}", tmp_path / f"rec{seed}"
    state.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.record.units", str(state), str(folder), "0.002"],
        stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    wanted = random.Random(seed).randrange(60, 400)
    taken = -1
    for line in process.stdout:
        taken = int(line)
        if taken >= wanted:
            break
    time.sleep(random.Random(seed).random() * 0.05)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    taken = int(rest[-1]) if rest else taken
    with Catalogue(state) as catalogue:
        found = list(heal("gate", folder, catalogue.paths("segment", "gate")))
        for file in found:
            catalogue.add(file)
        files = catalogue.files("segment", "gate")
    assert not list(folder.glob("*/.*"))
    assert {str(path) for path in folder.glob("*/*.mp4")} == {file.path for file in files}
    for file in files:
        assert hashlib.sha256(Path(file.path).read_bytes()).hexdigest() == file.sha256
        assert file.frames == len(decoded(file.path))
    kept = sum(file.frames for file in files)
    # A second of pictures may be open, and the newest waits to learn how long it lasts.
    assert kept >= taken + 1 - 25 - 1, f"{kept} of {taken + 1} pictures are left"
    assert len(found) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_kill_9_loses_at_most_the_open_fragment(tmp_path: Path, seed: int) -> None:
    kill_and_heal(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 150))
def test_kill_9_fifty_times(tmp_path: Path, seed: int) -> None:
    kill_and_heal(tmp_path, seed)


class Running:
    """A recorder in a thread, and what it says."""

    def __init__(self, state: Path, folder: Path, **more: object) -> None:
        self.ours, theirs = socket.socketpair()
        self.said: list[dict[str, object]] = []
        self.thread = threading.Thread(target=writer.Writer(state, theirs).run, daemon=True)
        self.thread.start()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.ours.sendall(units.order(folder, **more))

    def _listen(self) -> None:
        decoder = link.Decoder()
        while data := self.ours.recv(1 << 16):
            self.said += [message.json() for message in decoder.feed(data)]

    def put(self, unit: AccessUnit) -> None:
        self.ours.sendall(link.encode_unit(unit, 0))

    def stop(self) -> None:
        self.ours.sendall(link.encode(link.Kind.STOP))
        self.thread.join(10)
        self.ours.shutdown(socket.SHUT_RDWR)
        self.listener.join(5)
        self.ours.close()

    def whats(self) -> list[object]:
        return [said["what"] for said in self.said]


def wait(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_stops_recording_and_it_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_TRY_AGAIN", 0.1)
    disk, state = tmp_path / "disk", tmp_path / "state"
    disk.mkdir()
    state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        running = Running(state, disk / "gate")
        stream = list(units.video(150, interval=1))
        ballast = disk / "ballast"
        for unit in stream[:60]:
            running.put(unit)
        wait(lambda: list((disk / "gate").glob("*/.*.part")))
        time.sleep(0.3)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        for unit in stream[60:100]:
            running.put(unit)
        wait(lambda: "recording stopped" in running.whats())
        ballast.unlink()
        time.sleep(0.2)
        for unit in stream[100:]:
            running.put(unit)
        wait(lambda: "recording resumed" in running.whats())
        running.stop()
        with Catalogue(state) as catalogue:
            files = catalogue.files("segment", "gate")
        assert len(files) >= 2 and not list((disk / "gate").glob("*/.*"))
        for file in files:
            assert file.frames == len(decoded(file.path)) > 0
            assert hashlib.sha256(Path(file.path).read_bytes()).hexdigest() == file.sha256
        assert running.whats().count("recording stopped") == 1
        before = [file.frames for file in files if file.start < units.WALL + 60 / units.RATE]
        assert sum(before) >= 60 - FRAGMENT * units.RATE - 1, "the fragment in flight, and the picture that waits"
        assert files[-1].frames >= 25 and files[-1].stop == pytest.approx(units.WALL + 6, abs=0.1), "it goes on"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "rec", reserve=1 << 30)
    for unit in units.video(30):
        running.put(unit)
    wait(lambda: "recording stopped" in running.whats())
    running.stop()
    assert not list((tmp_path / "rec").glob("*/*.mp4"))


def test_a_file_that_somebody_removed_is_told(tmp_path: Path) -> None:
    running = Running(tmp_path, tmp_path / "rec")
    for unit in units.video(30):
        running.put(unit)
    running.stop()
    with Catalogue(tmp_path) as catalogue:
        (file,) = catalogue.files("segment")
    Path(file.path).unlink()
    again = Running(tmp_path, tmp_path / "rec")
    wait(lambda: "recordings missing" in again.whats())
    again.stop()
    with Catalogue(tmp_path) as catalogue:
        assert catalogue.files("segment") == []
