"""What can happen to a face, and the one order of strength that every part of the software uses."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from anonymizer.settings import setting


class Action(enum.IntEnum):
    """From weakest to strongest. ``str()`` gives the word used in files, events and reports."""

    KEEP = 0
    BLUR = 1
    PIXELATE = 2
    REPLACE = 3
    SOLID = 4
    SILHOUETTE = 5
    PRIVACY = 6

    def __str__(self) -> str:
        return self.name.lower()


class Scope(enum.IntEnum):
    """How long a synthetic identity lives: from the shortest to the longest."""

    TRACK = 0
    CAMERA = 1
    ENROLLED = 2

    def __str__(self) -> str:
        return self.name.lower()


class Enhance(enum.IntEnum):
    """How a replaced face is refined."""

    OFF = 0
    LIGHT = 1

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What happens to a face: an action alone, or an action with options."""

    SHORTHAND: ClassVar = "action"

    action: Action = setting(
        "Action",
        description="From the weakest: keep, blur, pixelate, replace, solid, silhouette (head and shoulders), privacy "
        "(whole picture)",
        example="replace",
    )
    margin: float = setting(
        "Margin",
        default=0.1,
        minimum=0,
        maximum=2,
        unit="shares of the face's width and height",
        description="What is covered beyond the face on every side; a replaced face reaches over its hairline instead",
    )
    identity: Scope = setting(
        "Identity",
        default=Scope.TRACK,
        description="Whose new face it is: track (a new one for each track), camera (one for everyone on the camera, "
        "changed with each rotation), enrolled (one for each recognised member, changed with each rotation)",
    )
    enhance: Enhance = setting(
        "Enhance",
        default=Enhance.OFF,
        description="What refines the replaced face: off (nothing), light (a small net corrects eyes, mouth and light, "
        "for about 2 ms a face)",
    )


@dataclass(frozen=True, slots=True)
class Cover:
    """A treatment measured for comparison: each part in an order of its own.

    margin: -1 for a kept face, and infinite for privacy, which leaves nothing outside. life: scope and hours of the
    identity that stays visible; a kept face shows its own for ever, and a covered one shows none.
    """

    action: Action
    margin: float
    scope: float
    hours: float

    def weakness(self, old: Cover) -> str:
        """In what this is weaker than old, in words; empty where in nothing."""
        if self.action < old.action:
            return f"{self.action} instead of {old.action}"
        if self.margin < old.margin:
            return f"margin {self.margin:g} instead of {old.margin:g}"
        if self.scope > old.scope or self.hours > old.hours:
            return "an identity that lives longer"
        return ""


_ENDLESS = float("inf")


def measure(treatment: Treatment, rotation_hours: float) -> Cover:
    action = treatment.action
    margin = -1.0 if action is Action.KEEP else _ENDLESS if action is Action.PRIVACY else treatment.margin
    if action is Action.KEEP:
        return Cover(action, margin, _ENDLESS, _ENDLESS)
    if action is not Action.REPLACE:
        return Cover(action, margin, Scope.TRACK, 0.0)
    return Cover(action, margin, treatment.identity, 0.0 if treatment.identity is Scope.TRACK else rotation_hours)
