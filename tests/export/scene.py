"""A state folder with recordings, and the command line of an export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anonymizer import cli
from anonymizer.export import verify_command
from anonymizer.export.archive import read
from anonymizer.record import keys
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.segments import Segmenter
from anonymizer.statedir import StateDir
from tests.record import units

CONTROLLER = """
controller: Mill Lane Ltd, 1 Mill Lane
contact: privacy@mill.example
purposes: safety of the yard
recipients: the person who asks
storage: 30 days
source: cameras in the yard
authority: the supervisory authority
dpia: DPIA-4
figures: [{what: recognised again, value: 0.4 %, how: three clips}]
"""
WALL = units.WALL


def recorded(
    state: StateDir, folder: Path, *, camera: str = "gate", seconds: int = 12, length: float = 4
) -> list[File]:
    """Segments of 4 s with key frames every 2 s, in the catalogue, and a track in them."""
    files: list[File] = []
    segmenter = Segmenter(camera, folder / camera, 4, files.append)
    segmenter.clock = "camera"
    for unit in units.video(25 * seconds):
        segmenter.take(unit)
    segmenter.close()
    AuditFile(state)  # begun, as a service's is
    with Catalogue(state.path) as catalogue:
        for file in files:
            catalogue.add(file)
        for kind, last in (("new", WALL + 1), ("end", WALL + 9)):
            catalogue.take_event(track_event(kind, camera, last))
    return files


def track_event(kind: str, camera: str, last: float) -> dict[str, Any]:
    after = {
        "id": f"{camera}-1-7", "camera": camera, "start_time": WALL + 1, "last_time": last,
        "end_time": last if kind == "end" else None, "zones": [], "action": "replace", "method": "replace",
        "rule": "default", "box": [40, 40, 32, 32],
    }  # fmt: skip
    return {"type": kind, "before": None, "after": after}


def arguments(folder: Path, verb: str, target: Path, *more: object) -> list[str]:
    """``anonymizer export VERB`` with everything that a case needs."""
    controller = folder / "controller.yaml"
    controller.write_text(CONTROLLER)
    words: Sequence[object] = (
        "export", verb, "--out", target, "--controller", controller, "--case", "C-1", "--basis", "Art. 15 GDPR",
        "--reason", "a theft in the yard", "--recipient", "the police", "--delivery", "by courier", "--approver",
        "A. Officer", "--state", folder / "state", *more,
    )  # fmt: skip
    return [str(word) for word in words]


def run(words: Sequence[str]) -> int:
    return cli.main(words)


def contents(package: Path) -> dict[str, bytes]:
    """The files in a package that is not sealed."""
    with package.open("rb") as file:
        return {member.name: b"".join(chunks) for member, chunks in read(file)}


def verdict(package: Path, state: StateDir, *identities: Path) -> str:
    """What ``anonymizer verify`` says, trusting the service's own key."""
    return verify_command.check(package, [(state.path / keys.SIGNING_PUBLIC).read_text().strip()], identities).outcome
