"""The report of what was done to each face of each frame, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from anonymizer.errors import PublishError
from anonymizer.frame import Face, Frame
from anonymizer.splice import Kept


class Report:
    """Writes frames as they come, so that a day's recording needs no memory, beside the file that ``close`` names.

    {"source", "settings", "frames": [{"index", "pts", "faces": [{"track", "box": [x, y, w, h], "action", "method",
    "rule", "score", "person"}]}], "gops": [{"first", "frames", "copied", "reason"}]}: box is the bounding rectangle of
    what was painted with a weight of at least one half (where nothing was painted, of the face), action what the rule
    asked, method what was painted, person the number in this report of the one who was drawn, if anybody was. A frame
    that was covered whole says why under "covered". "gops" is there where clean GOPs are copied: index of the first
    frame, number of frames, and, of those that were encoded anew, why.
    """

    def __init__(self, path: Path, source: str, settings: dict[str, Any]) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._file: IO[str] | None = None
        with self._telling():
            self._file = self._part.open("w", encoding="utf-8")
        head = json.dumps({"source": source, "settings": settings})[:-1]
        self._write(f'{head}, "frames": [')
        self._separator = "\n"
        self._people: dict[bytes, int] = {}

    def add(self, frame: Frame) -> None:
        """Note a frame that has been painted."""
        entry: dict[str, Any] = {"index": frame.index, "pts": frame.pts, "faces": [self._face(f) for f in frame.faces]}
        if frame.uncertain:
            entry["covered"] = frame.uncertain
        self._write(self._separator + json.dumps(entry))
        self._separator = ",\n"

    def _write(self, text: str) -> None:
        assert self._file is not None
        with self._telling():
            self._file.write(text)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PublishError(f"{self.path}: the report cannot be written ({error.strerror})") from error

    def close(self, gops: Sequence[Kept] | None = None) -> None:
        """Finish the report and put it in its place."""
        self.finish(gops)
        self.place()

    def finish(self, gops: Sequence[Kept] | None = None) -> None:
        """Write the report to its end; ``place`` gives it its name."""
        groups = "" if gops is None else ', "gops": ' + json.dumps([gop.plain() for gop in gops])
        self._write(f"\n]{groups}}}\n")
        assert self._file is not None
        with self._telling():
            self._file.close()

    def place(self) -> None:
        with self._telling():
            os.replace(self._part, self.path)

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            with suppress(OSError):  # what it could not write is being thrown away
                self._file.close()
        self._part.unlink(missing_ok=True)

    def _face(self, face: Face) -> dict[str, Any]:
        box = face.painted or face.box
        told = {
            "track": face.track,
            "box": [round(float(v), 1) for v in box],
            "action": face.action,
            "method": face.method,
            "rule": face.rule,
            "score": round(float(face.score), 3),
        }
        if face.identity:
            told["person"] = self._people.setdefault(face.identity, len(self._people) + 1)
        return told
