"""Figures: a number, what it rests on and how it was made; sections of them, with plots and sheets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from anonymizer.evaluate.statistics import Rate
from anonymizer.frame import U8

_DIGITS = {"%": 1, "points": 1, "°": 1, "dB": 1, "MB": 0, "ms a frame": 2, "ms a face": 2}


@dataclass(frozen=True, slots=True)
class Goal:
    """What this project wants of a figure: at most ``limit``, or at least that much."""

    limit: float
    least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}"

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. name: of the quantity; of: what it was measured on, such as a recogniser or a class of faces.

    value: None where there is too little to say, or it is no number. low, high: 95 % interval. count: faces, pairs or
    frames behind it. over: of how many people or tracks these are. how: the way it was made.
    """

    name: str
    of: str
    value: float | None
    unit: str
    count: int
    how: str
    low: float | None = None
    high: float | None = None
    over: str = ""
    goal: Goal | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        out: dict[str, Any] = {"name": self.name, "of": self.of, "value": _rounded(self.value), "unit": self.unit}
        if self.low is not None:
            out["interval"] = [_rounded(self.low), _rounded(self.high)]
        if self.goal is not None:
            out |= {"goal": str(self.goal), "verdict": self.verdict()}
        return {**out, "count": self.count, **({"over": self.over} if self.over else {}), "how": self.how}

    def text(self) -> str:
        """The value with its unit and interval."""
        if self.value is None:
            return "too little to say"
        digits = 0 if self.unit == "" and self.value == int(self.value) else _DIGITS.get(self.unit, 3)
        shown = f"{self.value:.{digits}f}"
        if self.low is not None and self.high is not None:
            shown += f" ({self.low:.{digits}f} to {self.high:.{digits}f})"
        return f"{shown} {self.unit}".strip()

    def verdict(self) -> str:
        """Whether the goal is met; not sure where the interval reaches across it, or where there is none."""
        if self.goal is None or self.value is None:
            return ""
        met = self.goal.met(self.value)
        sure = all(end is not None and self.goal.met(end) == met for end in (self.low, self.high))
        return ("met" if met else "missed") + ("" if sure else ", not sure")


@dataclass(slots=True)
class Section:
    """One part of the report. over: what intervals are resampled over. plots: SVG texts; sheets: captions and BGR
    pictures of anonymised faces."""

    title: str
    about: str
    over: str = "tracks"
    figures: list[Figure] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    sheets: list[tuple[str, U8]] = field(default_factory=list)

    def rows(self, name: str) -> list[tuple[str, float, float, float]]:
        """For bars: what each figure of that name is of, its value and the ends of its interval."""
        out = []
        for one in self.figures:
            if one.name == name and one.value is not None:
                low, high = (one.value if end is None else end for end in (one.low, one.high))
                out.append((one.of, one.value, low, high))
        return out

    def figure(self, name: str, of: str, value: float | None, unit: str, count: int, how: str) -> None:
        """Add a number without interval."""
        self.figures.append(Figure(name, of, value, unit, count, how))

    def share(self, name: str, of: str, rate: Rate | None, how: str, goal: Goal | None = None) -> None:
        """Add a share in per cent."""
        self.number(name, of, rate, how, "%", 100.0, goal)

    def number(
        self, name: str, of: str, rate: Rate | None, how: str, unit: str = "", scale: float = 1.0,
        goal: Goal | None = None, over: str = "",
    ) -> None:  # fmt: skip
        """Add a value with its interval. over: what that is resampled over, where it is not the section's."""
        if rate is None:
            self.figures.append(Figure(name, of, None, unit, 0, how, goal=goal))
            return
        low, high = (None if end is None else scale * end for end in (rate.low, rate.high))
        many = f"{rate.identities} {over or self.over}"
        self.figures.append(Figure(name, of, scale * rate.value, unit, rate.count, how, low, high, many, goal))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
