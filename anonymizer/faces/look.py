"""How every frame is looked at, where it is to be told whether a GOP shows anybody."""

from __future__ import annotations

from dataclasses import dataclass

from anonymizer.settings import setting


@dataclass(frozen=True, kw_only=True)
class LookSettings:
    """Looking at every frame, for `anonymizer redact --copy-clean-gops`."""

    size: int = setting(
        "Input for clean GOPs",
        default=960,
        minimum=0,
        maximum=7680,
        unit="pixels",
        description="Longer side of the picture that the detector sees of every frame, to tell whether a GOP is clean, "
        "where two thirds of it show anything that might be a face; small faces get a closer look, a third larger. 0 "
        "for the frame's own size at once",
    )
    faint: float = setting(
        "Score of a faint face",
        default=0.05,
        minimum=0.02,
        maximum=0.35,
        description="Small boxes that score no more than this are a face where they follow each other for a third of a "
        "second; it is covered, and its GOP is not clean. Our own detector's must score twice as much",
    )
