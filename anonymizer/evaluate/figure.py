"""Figures: a number, what it rests on and how it was made; sections of them, with plots and sheets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from anonymizer.evaluate.statistics import Rate
from anonymizer.frame import U8


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. name: of the quantity; of: what it was measured on, such as a recogniser or a class of faces.

    value: None where it cannot be said, then ``how`` says why. low, high: 95 % interval. count: faces, pairs or frames
    behind it.
    """

    name: str
    of: str
    value: float | None
    unit: str
    count: int
    how: str
    low: float | None = None
    high: float | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        out: dict[str, Any] = {"name": self.name, "of": self.of, "value": _rounded(self.value), "unit": self.unit}
        if self.low is not None:
            out["interval"] = [_rounded(self.low), _rounded(self.high)]
        return {**out, "count": self.count, "how": self.how}

    def text(self) -> str:
        """The value with its unit and interval."""
        if self.value is None:
            return "–"
        digits = 0 if self.unit == "" and self.value == int(self.value) else 1 if self.unit == "%" else 3
        shown = f"{self.value:.{digits}f}"
        if self.low is not None and self.high is not None:
            shown += f" ({self.low:.{digits}f} to {self.high:.{digits}f})"
        return f"{shown} {self.unit}".strip()


@dataclass(slots=True)
class Section:
    """One part of the report. plots: SVG texts; sheets: captions and BGR pictures of anonymised faces."""

    title: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    sheets: list[tuple[str, U8]] = field(default_factory=list)

    def figure(self, name: str, of: str, value: float | None, unit: str, count: int, how: str) -> None:
        """Add a number without interval."""
        self.figures.append(Figure(name, of, value, unit, count, how))

    def share(self, name: str, of: str, rate: Rate | None, how: str) -> None:
        """Add a share in per cent."""
        self._add(name, of, rate, how, "%", 100.0)

    def number(self, name: str, of: str, rate: Rate | None, how: str, unit: str = "") -> None:
        """Add a mean."""
        self._add(name, of, rate, how, unit, 1.0)

    def _add(self, name: str, of: str, rate: Rate | None, how: str, unit: str, scale: float) -> None:
        if rate is None:
            self.figures.append(Figure(name, of, None, unit, 0, f"too little to say. {how}"))
            return
        low, high = (None if end is None else scale * end for end in (rate.low, rate.high))
        how += " One person, so no interval." if low is None else f" Interval: 95 %, over {rate.identities} people."
        self.figures.append(Figure(name, of, scale * rate.value, unit, rate.count, how, low, high))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
