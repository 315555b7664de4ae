from __future__ import annotations

import shutil
import subprocess
import threading
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyrage
import pytest
from pyrage.x25519 import Identity

from anonymizer.access_unit import split
from anonymizer.errors import ConfigError
from anonymizer.ingest.clock import CameraClock
from anonymizer.record import audit, holds, keys, mp4, retention, shares, unseal, vault
from anonymizer.record.audit import AuditError, AuditFile
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.mp4 import Audio
from anonymizer.record.settings import RecordSettings, VaultSettings
from anonymizer.record.vault import Picture, VaultWriter
from anonymizer.statedir import StateDir
from tests import videos
from tests.record import units

END = units.WALL + 1e6


def sealed(folder: Path, recipients: list[str], count: int = 150) -> list[File]:
    """A camera's packets in sealed fragments; a byte of G.711 sound for each picture's time."""
    told: list[dict[str, Any]] = []
    writer = VaultWriter(recipients, folder, "gate", told.append)
    writer.connected("h264", 192, 144, b"", "yuv420p", Audio("pcmu", 8000))
    for unit in units.video(count):
        writer.picture(Picture(unit.data, unit.key, unit.time, unit.time, unit.wall), "camera")
        writer.sound(bytes(320), unit.time)
    writer.close()
    assert not [t for t in told if "problem" in t]
    return [
        File("fragment", "gate", t["path"], t["start"], t["stop"], t["clock"], t["bytes"], t["sha256"], t["frames"])
        for t in told
    ]


def frames(path: Path) -> int:
    with av.open(str(path)) as source:
        return sum(1 for _ in source.decode(video=0))


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def test_fragments_hold_every_packet_and_open_with_the_officers_key(tmp_path: Path, state: StateDir) -> None:
    officer = Identity.generate()
    files = sealed(tmp_path / "vault", [str(officer.to_public())])
    assert [file.frames for file in files] == [50, 50, 50]
    stream = list(units.video(150))
    with Catalogue(state.path) as catalogue:
        for file in files:
            catalogue.add(file)
        result = unseal.Opened()
        opened = unseal.fragments(
            AuditFile(state), catalogue, "gate", 0, END, officer, "a theft", 5.0, result.damaged, case="C-1"
        )
        unseal.save(opened, tmp_path / "out", result)
    (path,) = result.files
    assert [file.clock for file in files] == ["camera"] * 3
    assert result.fragments == 3 and not result.damaged and frames(path) == 150
    assert path.stat().st_mode & 0o777 == 0o600
    with av.open(str(path)) as source:
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    with av.open(str(path)) as source:
        assert b"".join(bytes(packet) for packet in source.demux(audio=0)) == bytes(150 * 320)
    assert packets == [mp4.sized(mp4.in_sample(unit.codec, split(unit.data))) for unit in stream]
    said = [entry.said for entry in audit.entries(state.path) if entry.kind == unseal.UNSEALED]
    assert said[0]["reason"] == "a theft" and said[0]["fragments"] == 3 and said[0]["case"] == "C-1"


@pytest.mark.skipif(shutil.which("age") is None, reason="needs Debian's age, which is not installed")
def test_the_age_tool_opens_them_and_no_key_of_the_service_does(tmp_path: Path, state: StateDir) -> None:
    keys.create_signing(state)
    keys.create_bank(state)
    officer = tmp_path / "officer.key"
    public = keys.create_officer(officer, state.path)
    (file, *_) = sealed(tmp_path / "vault", [public], 60)
    out = tmp_path / "plain.mp4"
    subprocess.run(["age", "-d", "-i", str(officer), "-o", str(out), file.path], check=True)
    assert frames(out) == file.frames
    tried = list(state.path.iterdir())
    assert {path.name for path in tried} >= {keys.SIGNING, keys.SIGNING_PUBLIC, keys.BANK}
    for path in tried:
        done = subprocess.run(["age", "-d", "-i", str(path), file.path], capture_output=True, check=False)
        assert done.returncode and not done.stdout


def test_nothing_is_sealed_while_paused(tmp_path: Path) -> None:
    source = videos.write(tmp_path / "camera.ts", count=150, options={"bf": "0", "g": "25", "sc_threshold": "0"})
    told: list[dict[str, Any]] = []
    writer = VaultWriter([str(Identity.generate().to_public())], tmp_path / "vault", "gate", told.append)
    clock = CameraClock()
    with av.open(str(source)) as container:
        writer.open(container.streams.video[0], None)
        for number, packet in enumerate(container.demux(video=0)):
            writer.paused = 40 <= number < 110
            writer.packet(packet, clock)
    writer.close()
    assert [t["frames"] for t in told] == [25, 15, 25]  # up to the pause, and from the next key frame after it


def test_a_cameras_own_packets_survive_b_frames_and_a_first_one_without_time(tmp_path: Path, state: StateDir) -> None:
    source = videos.write(tmp_path / "camera.ts", count=100, options={"bf": "2", "g": "40"})
    officer = Identity.generate()
    told: list[dict[str, Any]] = []
    writer = VaultWriter([str(officer.to_public())], tmp_path / "vault", "gate", told.append)
    clock = CameraClock()
    with av.open(str(source)) as container:
        writer.open(container.streams.video[0], None)
        for number, packet in enumerate(container.demux(video=0)):
            if number == 0:
                packet.pts = packet.dts = None
            writer.packet(packet, clock)
    writer.close()
    assert sum(t["frames"] for t in told) == 100 and len(told) == 3
    with Catalogue(state.path) as catalogue:
        for t in told:
            catalogue.add(
                File("fragment", *(t[k] for k in ("camera", "path", "start", "stop", "clock", "bytes", "sha256")))
            )
        result = unseal.Opened()
        opened = unseal.fragments(AuditFile(state), catalogue, "gate", 0, 9e9, officer, "why", 5.0, result.damaged)
        unseal.save(opened, tmp_path / "out", result)
    with av.open(str(source)) as a, av.open(str(result.files[0])) as b:
        want, got = list(a.decode(video=0)), list(b.decode(video=0))
    assert len(got) == 100
    assert all(np.array_equal(x.to_ndarray(), y.to_ndarray()) for x, y in zip(want, got, strict=True))
    assert np.diff([float(frame.time or 0) for frame in got[1:]]) == pytest.approx(0.04, abs=1e-3)


def test_hostile_packets_do_not_end_the_sealing(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    writer = VaultWriter([str(Identity.generate().to_public())], tmp_path, "gate", told.append)
    writer.connected("h264", 192, 144, b"", "yuv420p", None)
    hostile = b"\0\0\1\x67\0\0\1\x67" + b"\x67" * 70_000 + b"\0\0\1\x68\1\2\3\0\0\1\x65"
    for number in range(4):
        writer.picture(Picture(hostile, True, number, number, number), "camera")
    for unit in units.video(60):
        writer.picture(Picture(unit.data, unit.key, 10 + unit.time, 10 + unit.time, unit.wall), "camera")
    writer.close()
    assert any("problem" in t for t in told) and [t["frames"] for t in told if "frames" in t][-2:] == [50, 10]


def test_no_byte_of_the_original_lies_on_disk(tmp_path: Path) -> None:
    officer = Identity.generate()
    sealed(tmp_path, [str(officer.to_public())], 60)
    pieces = [unit.data[at : at + 24] for unit in units.video(60) for at in range(40, len(unit.data) - 24, 64)]
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert pieces and not any(piece in data for piece in pieces)


def test_any_two_of_three_officers_open_it_and_no_one_alone(tmp_path: Path, state: StateDir) -> None:
    officers = [tmp_path / f"officer{n}.key" for n in range(3)]
    publics = [keys.create_officer(path, state.path) for path in officers]
    folder = tmp_path / "shares"
    folder.mkdir()
    public = keys.create_vault(folder, publics, 2)
    words = [keys.share(folder / f"share-{n + 1}.age", [keys.identity(officers[n])]) for n in range(3)]
    for pair in combinations(words, 2):
        assert str(shares.join(pair).to_public()) == public
    assert shares.numbers(words) == [1, 2, 3]
    for few in ([words[0]], [words[0], words[0]]):
        with pytest.raises(ConfigError, match="2 different shares"):
            shares.join(few)
    with pytest.raises(ConfigError, match="opens with none"):
        keys.share(folder / "share-1.age", [keys.identity(officers[1])])
    damaged = words[0].split()
    damaged[20] = "academic" if damaged[20] != "academic" else "acid"
    with pytest.raises(ConfigError, match="give no key"):
        shares.join([" ".join(damaged), words[1]])
    with pytest.raises(ConfigError, match="is there already"):
        keys.create_vault(folder, publics, 2)


def test_an_identity_survives_being_split() -> None:
    for _ in range(5):
        identity = Identity.generate()
        assert str(shares.join(shares.split(identity, 3, 5)[1:4])) == str(identity)


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
def test_a_damaged_fragment_is_told_and_not_opened(tmp_path: Path, state: StateDir, harm: str) -> None:
    officer = Identity.generate()
    files = sealed(tmp_path / "vault", [str(officer.to_public())])
    path = Path(files[1].path)
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-100] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    result = unseal.Opened()
    with Catalogue(state.path) as catalogue:
        for file in files:
            catalogue.add(file)
        opened = unseal.fragments(AuditFile(state), catalogue, "gate", 0, END, officer, "why", 5.0, result.damaged)
        unseal.save(opened, tmp_path / "out", result)
    assert result.fragments == 2 and len(result.damaged) == 1 and [frames(p) for p in result.files] == [50, 50]


def test_nothing_is_opened_without_reason_or_audit(
    tmp_path: Path, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer = Identity.generate()
    files = sealed(tmp_path / "vault", [str(officer.to_public())], 60)
    log = AuditFile(state)

    def refuse(*_: object) -> None:
        raise AuditError("the disk is full")

    with Catalogue(state.path) as catalogue:
        catalogue.add(files[0])
        monkeypatch.setattr(pyrage, "decrypt", lambda *_: pytest.fail("opened"))
        with pytest.raises(ConfigError, match="reason"):
            unseal.fragments(log, catalogue, "gate", 0, END, officer, "  ", 5.0, [])
        monkeypatch.setattr(AuditFile, "append", refuse)
        with pytest.raises(AuditError):
            unseal.fragments(log, catalogue, "gate", 0, END, officer, "why", 5.0, [])


def test_a_slow_disk_never_holds_up_the_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    hang = threading.Event()
    seal = VaultWriter._seal
    monkeypatch.setattr(VaultWriter, "_seal", lambda self, fragment: (hang.wait(20), seal(self, fragment))[1])
    writer = VaultWriter([str(Identity.generate().to_public())], tmp_path, "gate", told.append)
    writer.connected("h264", 192, 144, b"", "yuv420p", None)
    unit = next(units.video(1))
    for number in range(20 * 25):
        writer.picture(Picture(unit.data, True, number / 25, number / 25, number / 25), "camera")
    assert [t["problem"] for t in told] == ["the disk is too slow: originals are lost"]
    hang.set()
    writer.close()


def test_healing_takes_in_whole_files_only(tmp_path: Path) -> None:
    files = sealed(tmp_path, [str(Identity.generate().to_public())])
    part = Path(files[0].path).with_name(".1-2.age.part")
    part.write_bytes(b"half")
    found = list(vault.heal("gate", tmp_path, {files[0].path}))
    assert [(f.path, f.sha256, f.bytes) for f in found] == [(f.path, f.sha256, f.bytes) for f in files[1:]]
    assert found[0].start == pytest.approx(files[1].start, abs=2e-3) and not part.exists()


# Retention


def kept(folder: Path, catalogue: Catalogue, kind: Any, days: list[float], now: float, size: int = 100) -> list[Path]:
    """Files that are so many days old."""
    paths = []
    for number, old in enumerate(days):
        path = folder / "2026-01-01" / f"{kind}{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * size)
        start = now - old * 86400
        catalogue.add(File(kind, "gate", str(path), start, start + 60, "camera", size, f"{number:064x}"))
        paths.append(path)
    return paths


SETTINGS = RecordSettings(
    retention_days=30, vault=VaultSettings(recipients=("age1" + "q" * 58,), retention_days=3)
)  # fmt: skip


def deletions(state: StateDir) -> list[dict[str, Any]]:
    return [entry.said for entry in audit.entries(state.path) if entry.kind == retention.DELETED]


def test_originals_go_first_then_the_rest_each_certified(tmp_path: Path, state: StateDir) -> None:
    now = units.WALL
    with Catalogue(state.path) as catalogue:
        segments = kept(tmp_path, catalogue, "segment", [40, 31, 29, 1], now)
        originals = kept(tmp_path, catalogue, "fragment", [40, 4, 2], now)
    assert retention.run(state, {"gate": SETTINGS}, now) == 4
    assert [p.exists() for p in segments] == [False, False, True, True]
    assert [p.exists() for p in originals] == [False, False, True]
    said = deletions(state)
    assert [(s["what"], s["count"], s["why"]) for s in said] == [
        ("segment", 2, "older than 30 days"), ("fragment", 2, "older than 3 days"),
    ]  # fmt: skip
    assert said[0]["files"] == [["segment0", f"{0:064x}"], ["segment1", f"{1:064x}"]]
    assert retention.run(state, {"gate": SETTINGS}, now) == 0 and audit.verify(state.path).good


def test_a_legal_hold_keeps_what_it_covers(tmp_path: Path, state: StateDir) -> None:
    now = units.WALL
    with Catalogue(state.path) as catalogue:
        paths = kept(tmp_path, catalogue, "segment", [40, 35, 31], now)
    hold = holds.place(state, "gate", now - 36 * 86400, now - 34 * 86400, "case 7")
    retention.run(state, {"gate": SETTINGS}, now)
    assert [p.exists() for p in paths] == [False, True, False]
    holds.release(state, hold.id)
    retention.run(state, {"gate": SETTINGS}, now)
    assert not paths[1].exists()


def test_unreadable_holds_keep_everything(tmp_path: Path, state: StateDir) -> None:
    with Catalogue(state.path) as catalogue:
        (path,) = kept(tmp_path, catalogue, "segment", [40], units.WALL)
    (state.path / "holds.json").write_text("[{")
    with pytest.raises(ConfigError):
        retention.run(state, {"gate": SETTINGS}, units.WALL)
    assert path.exists()


def test_too_much_goes_oldest_first(tmp_path: Path, state: StateDir) -> None:
    now = units.WALL
    with Catalogue(state.path) as catalogue:
        paths = kept(tmp_path, catalogue, "segment", [5, 4, 3, 2], now, 1000)
    holds.place(state, "", now - 5.5 * 86400, now - 4.5 * 86400, "case 8")
    retention.run(state, {"gate": RecordSettings(retention_gb=2.5e-6)}, now)
    assert [p.exists() for p in paths] == [True, False, False, True]
    assert deletions(state)[0]["why"] == "more than 2.5e-06 GB"


@pytest.mark.parametrize("moment", ["unlink", "append", "forget"])
def test_an_interrupted_deletion_is_finished(
    tmp_path: Path, state: StateDir, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalogue(state.path) as catalogue:
        paths = kept(tmp_path, catalogue, "segment", [40, 39], units.WALL)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    AuditFile(state)
    place = {"unlink": Path, "append": AuditFile, "forget": Catalogue}[moment]
    with monkeypatch.context() as patched:
        patched.setattr(place, moment, crash)
        with pytest.raises(KeyboardInterrupt):
            retention.run(state, {"gate": SETTINGS}, units.WALL)
    with Catalogue(state.path) as catalogue:
        assert catalogue.files("segment") == []
    assert retention.run(state, {"gate": SETTINGS}, units.WALL) == 2
    assert not any(path.exists() for path in paths)
    assert {name for said in deletions(state) for name, _ in said["files"]} == {"segment0", "segment1"}
    with Catalogue(state.path) as catalogue:
        assert not catalogue.paths("segment", "gate")


def test_originals_may_not_outlive_the_recording() -> None:
    with pytest.raises(ValueError, match="may not be kept longer"):
        RecordSettings(retention_days=1, vault=VaultSettings(recipients=("age1" + "q" * 58,), retention_days=2))
