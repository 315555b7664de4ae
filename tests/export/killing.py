"""Kills an export or an erasure at seeded moments, goes on, and looks at what is there. Run as a process of its own.

A moment is an operation on a file of ours: the process dies before it. All are counted first, then some are drawn.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pyrage.x25519 import Identity

from anonymizer import cli
from anonymizer.export import document
from anonymizer.record import audit, label
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir
from tests import conftest
from tests.export import clip, scene
from tests.export.scene import WALL
from tests.record.test_vault import sealed

DONE = 2  # an order that was finished already is refused, since its file is there
_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile"}


def child(words: list[str], work: Path, last: int, counted: Callable[[int], None] | None = None) -> int:
    """Run the command in a child that dies before its operation number ``last``; how it ended, as ``os.wait`` says."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sync = os.fsync
    os.fsync = lambda handle: (step(), sync(handle))[1]  # type: ignore[assignment]

    def operation(event: str, details: tuple[object, ...]) -> None:
        if event in _EVENTS and any(str(work) in str(one) for one in details):
            step()

    sys.addaudithook(operation)
    code = cli.main(words)
    if counted is not None:
        counted(done)
    os._exit(code)


def operations(words: list[str], folder: Path, work: Path) -> int:
    """How many there are when nothing interrupts."""
    note = folder / "count"
    assert child(words, work, 0, lambda count: note.write_text(str(count)) and None) == 0  # type: ignore[func-returns-value]
    return int(note.read_text())


def exporting(folder: Path, moments: int) -> None:
    work = folder / "work"
    state = StateDir(work / "state")
    scene.recorded(state, work / "recordings", seconds=8)
    target = work / "out" / "c1.zip"
    target.parent.mkdir()
    times = ["--from", label.utc(WALL + 1), "--to", label.utc(WALL + 7)]
    words = scene.arguments(work, "incident", target, "--camera", "gate", *times)

    def after(killed: bool) -> None:
        whole = target.exists() and scene.verdict(target, state) == "valid"
        assert whole or not target.exists(), "a package that is not whole"
        if not killed:
            assert whole and [path.name for path in target.parent.iterdir()] == ["c1.zip"]
            assert not list((state.path / "exports").iterdir())
            kinds = [entry.kind for entry in audit.entries(state.path)]
            assert "export begun" in kinds and kinds[-1] == "export finished", kinds
        intact(state, missing=False)

    repeat(folder, words, moments, after)


def copying(folder: Path, moments: int) -> None:
    """A copy for the person who asks: the originals are opened in every life, and lie nowhere."""
    work, shared = folder / "work", conftest.SHARED
    state = StateDir(work / "state")
    officer = clip.keep(shared, work, state, 6.29, 7.0)
    photos = [word for photo in clip.photos(shared, work) for word in ("--photo", photo)]
    target = work / "out" / "c1.zip"
    target.parent.mkdir()
    times = ["--from", label.utc(WALL + 6.3), "--to", label.utc(WALL + 6.9)]
    words = scene.arguments(
        work, "subject", target, "--camera", "gate", *times, "--identity", officer, "--config",
        clip.settings(shared, work), *photos,
    )  # fmt: skip
    packets = [bytes(packet)[200:264] for packet in clip.packets(clip.path(shared)) if packet.size > 1000]

    def after(killed: bool) -> None:
        assert not target.exists() or scene.verdict(target, state) == "valid", "a package that is not whole"
        for path in work.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            assert not any(packet in data for packet in packets), f"an original lies in {path}"
        if not killed:
            assert [path.name for path in target.parent.iterdir()] == ["c1.zip"]
            assert not list((state.path / "exports").iterdir())

    repeat(folder, words, moments, after)


def erasing(folder: Path, moments: int) -> None:
    work = folder / "work"
    state = StateDir(work / "state")
    scene.recorded(state, work / "recordings")
    with Catalogue(state.path) as catalogue:
        for file in sealed(work / "vault", [str(Identity.generate().to_public())], 300):
            catalogue.add(file)
    certificate = work / "erased.json"
    times = ["--camera", "gate", "--from", label.utc(WALL + 4.5), "--to", label.utc(WALL + 5)]
    words = [
        "erase", "--case", "E-1", "--reason", "Art. 17", "--approver", "A. Officer", "--how", "cut", *times,
        "--certificate", str(certificate), "--state", str(state.path),
    ]  # fmt: skip

    def after(killed: bool) -> None:
        intact(state, missing=killed)
        if killed:
            return
        assert certificate.exists() and not list((state.path / "erasures").iterdir())
        with Catalogue(state.path) as catalogue:
            segments, fragments = catalogue.files("segment"), catalogue.files("fragment")
            assert not catalogue.files("segment", deleting=True) + catalogue.files("fragment", deleting=True)
        assert sum(file.frames for file in segments) == 250, "one GOP is gone, and nothing else"
        assert not any(file.start < WALL + 5 and file.stop > WALL + 4.5 for file in segments + fragments)
        folders = {Path(file.path).parent for file in segments + fragments}
        there = {str(path) for one in folders for path in one.iterdir()}
        assert there == {file.path for file in segments + fragments}, "nothing is left behind"

    repeat(folder, words, moments, after)


def intact(state: StateDir, *, missing: bool) -> None:
    """Whatever the catalogue has is on disk as it says. missing: or not there yet, or not any more."""
    with Catalogue(state.path) as catalogue:
        for file in [*catalogue.files("segment"), *catalogue.files("fragment")]:
            path = Path(file.path)
            if path.exists() or not missing:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def repeat(folder: Path, words: list[str], moments: int, after: Callable[[bool], None]) -> None:
    work, kept = folder / "work", folder / "kept"
    shutil.copytree(work, kept)
    count = operations(words, folder, work)
    after(False)
    for last in sorted(random.Random(12).sample(range(1, count + 1), moments)):
        shutil.rmtree(work)
        shutil.copytree(kept, work)
        ended = child(words, work, last)
        assert os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL, (last, count, ended)
        after(True)
        again = os.waitstatus_to_exitcode(child(words, work, 0))
        assert again in (0, DONE), (last, count, again)
        after(False)
        report = audit.verify(work / "state")
        assert report.good, (last, report.problems)
        print(f"killed before operation {last} of {count}, and went on", flush=True)


if __name__ == "__main__":
    cli.parser(), document.FONTS  # what these import, no child need import again
    {"exporting": exporting, "copying": copying, "erasing": erasing}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
