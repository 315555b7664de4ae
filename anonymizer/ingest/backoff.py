"""How long to wait before a camera is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

REFUSED = 60.0
"""Seconds between two tries with a password that was refused: cameras lock accounts."""


@dataclass
class Backoff:
    """Waits that double from first to longest seconds, each shortened at random by up to half, so that many cameras
    that died together do not come back together. The longest leaves room for connecting and for the first key frame
    within the 5 s after which a camera's picture has to be back."""

    first: float = 0.25
    longest: float = 3.0
    random: Random = field(default_factory=Random)
    _next: float = 0.0

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        self._next = min(self.longest, max(self.first, self._next * 2))
        return self._next * self.random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        self._next = 0.0
