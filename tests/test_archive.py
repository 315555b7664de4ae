"""`anonymizer redact` on folders: what is done, left out, resumed, and left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import pytest

from anonymizer import archive, cli
from anonymizer.archive import RECORD, Outcome, Work
from anonymizer.config import Config, FacesSettings
from anonymizer.errors import ConfigError
from anonymizer.faces.look import LookSettings
from anonymizer.policy import load
from tests import videos
from tests.conftest import ROOT

SOLID = load("default: solid", "f")


def frames(path: Path) -> int:
    with av.open(str(path)) as reader:
        return sum(1 for _ in reader.decode(video=0))


def visible(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    (source / "gate" / "monday").mkdir(parents=True)
    videos.write(source / "gate" / "monday" / "a.mp4", count=8)
    videos.write(source / "b.mkv", count=6)
    videos.write(source / "c.avi", codec="mpeg4", count=5)
    (source / "gate" / "notes.txt").write_text("not for us")
    (source / "gate" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    return source


def test_a_tree_is_done_once(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All in one, since each run starts processes: done, resumed, and done again for each reason there is."""
    out, reports = tmp_path / "out", tmp_path / "reports"
    arguments = ["redact", str(tree), str(out), "--report", str(reports), "--method", "solid", "--json"]

    def run(*more: str, code: int) -> dict[str, str]:
        assert cli.main([*arguments, *more]) == code
        told = capsys.readouterr()
        assert "broken.mp4" in told.err and "Traceback" not in told.err
        summary = json.loads(told.out)
        assert summary["code"] == code and sum(summary["counts"].values()) == len(summary["files"]) == 5
        return {one["file"]: one["status"] for one in summary["files"]}

    fixed = {"gate/broken.mp4": "failed", "gate/notes.txt": "not a video"}
    first = run(code=4)
    assert first == fixed | {"b.mkv": "done", "c.avi": "done", "gate/monday/a.mp4": "done"}
    assert visible(out) == [RECORD, "b.mkv", "c.avi", "gate/monday/a.mp4"]
    assert visible(reports) == ["b.mkv.json", "c.avi.json", "gate/monday/a.mp4.json"]
    assert [frames(out / name) for name in ("b.mkv", "c.avi", "gate/monday/a.mp4")] == [6, 5, 8]
    assert json.loads((reports / "b.mkv.json").read_text())["source"] == str(tree / "b.mkv")

    os.utime(tree / "b.mkv", (1, 1))  # copied anew: the same bytes
    before = (out / "b.mkv").stat().st_mtime_ns
    again = run(code=4)
    assert again == fixed | {"b.mkv": "skipped", "c.avi": "skipped", "gate/monday/a.mp4": "skipped"}
    assert (out / "b.mkv").stat().st_mtime_ns == before

    (out / "c.avi").unlink()
    videos.write(tree / "gate" / "monday" / "a.mp4", count=9)
    assert run(code=4) == fixed | {"b.mkv": "skipped", "c.avi": "done", "gate/monday/a.mp4": "done"}
    assert frames(out / "gate" / "monday" / "a.mp4") == 9
    assert set(run("--crf", "30", code=4).values()) == {"done", "failed", "not a video"}


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "anonymizer.cli", "redact", str(source), str(out), "--method", "solid", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with default_interrupt():
        return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


@contextmanager
def default_interrupt() -> Iterator[None]:
    """What is started within hears SIGINT even where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_half_made_stays(tmp_path: Path, how: signal.Signals) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    videos.write(source / "a.mp4", count=4)
    videos.write(source / "long.mp4", count=2500, options={"preset": "ultrafast"})
    running = start(source, out)
    until(lambda: (out / RECORD).is_file() and "a.mp4" in (out / RECORD).read_text())
    until(lambda: any("long" in part.name for part in parts(out)))
    workers = {int(part.name.split(".")[-2]) for part in parts(out)}
    running.send_signal(how)
    _, error = running.communicate(timeout=60)
    if how is signal.SIGINT:
        assert running.returncode == 130 and "Traceback" not in error
        assert visible(out) == [RECORD, "a.mp4"]
    else:
        assert not (out / "long.mp4").exists()
        until(lambda: not any(archive._alive(pid) for pid in workers))  # they end with their parent
        assert [part.name.startswith(".long.mp4.") for part in parts(out)] == [True]
    (source / "long.mp4").unlink()  # what is left over goes even where its source is gone
    assert json.loads(start(source, out).communicate(timeout=120)[0])["counts"]["skipped"] == 1
    assert visible(out) == [RECORD, "a.mp4"]


def test_a_dying_process_is_one_files_failure(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    videos.write(source / "long.mp4", count=2500, options={"preset": "ultrafast"})
    running = start(source, out)
    until(lambda: parts(out))
    os.kill(int(parts(out)[0].name.split(".")[-2]), signal.SIGKILL)
    told, error = running.communicate(timeout=60)
    assert running.returncode == 4 and "signal 9" in error
    assert json.loads(told)["counts"] == {"done": 0, "skipped": 0, "not a video": 0, "failed": 1}
    assert visible(out) == [RECORD]


def test_two_runs_do_not_meet(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    with (out / RECORD).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run"):
            archive.redact_folder(tmp_path / "in", out, Work(Config(), SOLID))
    with pytest.raises(ConfigError, match="same folder"):
        archive.redact_folder(out, out, Work(Config(), SOLID))


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["x.mp4", "new.mp4"])
def test_sources_are_never_written_over(tmp_path: Path, name: str, link: bool) -> None:
    """An output's name that leads back into the source, by a folder of the same name or by a link."""
    source, out = tmp_path / "v" / "in", tmp_path / "out" if link else tmp_path / "v"
    (source / "in").mkdir(parents=True)
    for path in (source / "x.mp4", source / "in" / name):
        path.write_bytes(path.name.encode())
    if link:
        out.mkdir()
        (out / "in").symlink_to(source)
    before = visible(tmp_path)
    with pytest.raises(ConfigError, match=f"in/{name}: would be written"):
        archive.redact_folder(source, out, Work(Config(), SOLID))
    assert visible(tmp_path) == before and (source / "x.mp4").read_bytes() == b"x.mp4"


def test_the_plan_leaves_out_what_is_no_video(tmp_path: Path) -> None:
    source = tmp_path / "in"
    out = source / "out"  # inside: what was made before is no source
    out.mkdir(parents=True)
    for name in ("a.MP4", "a.webm", "a.webm.mp4", "photo.jpg", ".b.mp4.12.part", "out/done.mp4"):
        (source / name).touch()
    os.mkfifo(source / "pipe.mp4")
    (source / "link").symlink_to(tmp_path)
    planned = list(archive._plan(source, out, Work(Config(), SOLID)))
    jobs = {one.file: one.target.relative_to(out).as_posix() for one in planned if not isinstance(one, Outcome)}
    assert jobs == {"a.MP4": "a.MP4", "a.webm": "a.webm.mp4"}
    told = {one.file: (one.status, one.code) for one in planned if isinstance(one, Outcome)}
    left_out = dict.fromkeys((".b.mp4.12.part", "link", "photo.jpg", "pipe.mp4"), ("not a video", 0))
    assert told == left_out | {"a.webm.mp4": ("failed", 2)}


def test_a_torn_line_of_the_record_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / RECORD
    path.write_text('{"file": "a", "size": 1}\n[]\n{"file": "a", "size": 2}\n{"file": "b", "si')
    with path.open("a+") as record:
        assert archive._read(record) == {"a": {"file": "a", "size": 2}}
        record.write('{"file": "c"}\n')
    with path.open("a+") as record:
        assert set(archive._read(record)) == {"a", "c"}


@pytest.mark.parametrize(
    ("share", "encoder", "faces", "parallel"), [(1, 1, 1, False), (2, 2, 2, False), (5, 1, 3, True)]
)
def test_threads_fit_the_cores(tmp_path: Path, share: int, encoder: int, faces: int, parallel: bool) -> None:
    config = Config()
    config = replace(config, encoder=replace(config.encoder, threads=0), faces=replace(config.faces, threads=8))
    job = archive._sized(archive._Job("a", tmp_path, tmp_path, Work(config, SOLID)), share)
    assert (job.work.config.encoder.threads, job.work.config.faces.threads, job.parallel) == (encoder, faces, parallel)


def test_the_fingerprint_changes_with_what_the_output_depends_on() -> None:
    work = Work(Config(), SOLID)
    told = {
        archive._fingerprint(one)
        for one in (
            work,
            replace(work, audio=True),
            replace(work, copy=True),
            replace(work, config=replace(work.config, faces=FacesSettings(look=LookSettings(size=0)))),
            replace(work, rules=load("default: blur", "f")),
            replace(work, config=replace(work.config, encoder=replace(work.config.encoder, crf=30))),
        )
    }
    assert len(told) == 6
    script = (
        "from anonymizer import archive as a; from anonymizer.config import Config; from anonymizer.policy import load;"
        "print(a._fingerprint(a.Work(Config(), load('default: solid', 'f'))))"
    )
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() in told  # the same in another process
