"""How a camera does, declared once: for MQTT, Home Assistant, the HTTP API and the metrics. Pure."""

from __future__ import annotations

import dataclasses
import functools
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RULES = "rules"
"""The method of a camera over whose rules nothing is laid."""


def reading(default: Any, title: str, description: str, unit: str = "") -> Any:
    """A dataclass field that users see."""
    return field(default=default, metadata={"title": title, "description": description, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class CameraState:
    """One camera as its users see it. The worker tells some of it, the service the rest."""

    online: bool = reading(False, "Online", "Pictures come from the camera")
    enabled: bool = reading(True, "Enabled", "The camera's pictures are served and kept; else a designed one is")
    privacy: bool = reading(False, "Privacy", "The whole picture is covered, whatever the rules say")
    protected: bool = reading(False, "Protected", "All that is served has been through the rules, or is covered whole")
    degraded: bool = reading(False, "Degraded", "The picture is worse than configured; the reason says why")
    reason: str = reading("", "Reason", "Why the camera is offline or degraded, or empty")
    method: str = reading(RULES, "Method", "The weakest treatment that is laid over the rules; 'rules' for none")
    profile: str = reading("", "Profile", "The rule set in force; empty for what is configured")
    fps: float = reading(0.0, "Frame rate", "Pictures served in a second", "fps")
    latency_ms: float = reading(0.0, "Latency", "From a picture's arrival to its encoded form, median", "ms")
    faces: int = reading(0, "Faces", "Faces in view now")
    clients: int = reading(0, "Clients", "Who watches now")

    def updated(self, changes: Mapping[str, Any]) -> CameraState:
        """With some fields changed. ValueError for an unknown field or a value of the wrong type: a worker decodes
        hostile bytes and is not believed blindly."""
        return dataclasses.replace(self, **_checked(type(self), changes))

    def to_json(self) -> dict[str, Any]:
        """Rounded, so that noise alone makes no new message."""
        return {**dataclasses.asdict(self), "fps": round(self.fps, 1), "latency_ms": round(self.latency_ms)}


BOUNDS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Upper bounds of the latency histogram's buckets, seconds; one more bucket has none."""


@dataclass(slots=True)
class Histogram:
    """counts: by bucket of ``BOUNDS``, not cumulative. total: seconds, all added up."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram([a + b for a, b in zip(self.counts, other.counts, strict=True)], self.total + other.total)


@dataclass(slots=True, kw_only=True)
class CameraCounters:
    """What a worker has counted since it started. The service adds those of a worker that has ended to the next's."""

    frames_in: int = 0
    frames_out: int = 0
    frames_dropped: int = 0
    """Frames that were not served, because there was no time or no room for them."""
    frames_covered: int = 0
    """Frames that were covered whole, for want of certainty."""
    queue_drops: int = 0
    """Access units that did not fit into the link to the service."""
    detector_runs: int = 0
    detector_seconds: float = 0.0
    """Wall seconds of all runs of the detector."""
    latency: Histogram = field(default_factory=Histogram)

    def __add__(self, other: CameraCounters) -> CameraCounters:
        return CameraCounters(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)}
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CameraCounters:
        """ValueError for anything that ``to_json`` would not have written."""
        rest = dict(data)
        histogram = rest.pop("latency", None)
        if not isinstance(histogram, Mapping) or histogram.keys() != {"counts", "total"}:
            raise ValueError("latency must have counts and total")
        counts, total = histogram["counts"], histogram["total"]
        if not isinstance(counts, list) or len(counts) != len(BOUNDS) + 1:
            raise ValueError(f"latency must count {len(BOUNDS) + 1} buckets")
        numbers = [*counts, *_checked(cls, rest).values()]
        if not all(type(n) in {int, float} and math.isfinite(n) and n >= 0 for n in [*numbers, total]):
            raise ValueError("a counter is no finite number from 0 on")
        if not all(type(n) is int for n in counts):
            raise ValueError("a bucket's count is no whole number")
        return cls(latency=Histogram(counts, float(total)), **_checked(cls, rest))


def _checked(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = _kinds(cls)
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{cls.__name__} has no field {name!r}")
        kind = kinds[name]
        fits = type(value) in {int, float} and math.isfinite(value) if kind is float else type(value) is kind
        if not fits:
            raise ValueError(f"{cls.__name__}.{name} must be {kind.__name__}, not {type(value).__name__}")
    return dict(values)


@functools.cache
def _kinds(cls: type) -> dict[str, type]:
    """The type of each plain field, taken from its default."""
    plain = [f for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING]
    return {f.name: type(f.default) for f in plain}
