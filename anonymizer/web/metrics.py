"""Prometheus metrics, made from the newest states and counters whenever somebody asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from anonymizer.events.state import BOUNDS, CameraCounters, CameraState

_COUNTERS = {
    "frames_in": ("frames_in", "Frames decoded"),
    "frames_out": ("frames_out", "Frames served"),
    "frames_dropped": ("frames_dropped", "Frames not served, for want of time or room"),
    "frames_covered": ("frames_covered", "Frames covered whole, for want of certainty"),
    "queue_drops": ("queue_drops", "Access units lost between the worker and the service"),
    "detector_runs": ("detector_runs", "Runs of the detector"),
    "detector_seconds": ("detector_seconds", "Time spent in the detector"),
}
_BOUNDS = [*map(str, BOUNDS), "+Inf"]

Readings = Mapping[str, tuple[CameraState, CameraCounters]]


class Metrics(Collector):
    """cameras: the newest of each. totals: the service's own counters by name, such as ``mqtt_events_dropped``."""

    def __init__(self, cameras: Callable[[], Readings], totals: Callable[[], Mapping[str, float]]) -> None:
        self._cameras = cameras
        self._totals = totals
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        cameras = self._cameras()
        for name, value in self._totals().items():
            yield CounterMetricFamily(f"anonymizer_{name}", f"{name.replace('_', ' ')}", value)
        for f in dataclasses.fields(CameraState):
            if isinstance(f.default, bool | int | float) and f.name != "latency_ms":  # latency has a histogram
                gauge = GaugeMetricFamily(f"anonymizer_camera_{f.name}", f.metadata["description"], labels=["camera"])
                for camera, (state, _) in cameras.items():
                    gauge.add_metric([camera], float(getattr(state, f.name)))
                yield gauge
        for field, (name, help_text) in _COUNTERS.items():
            counter = CounterMetricFamily(f"anonymizer_camera_{name}", help_text, labels=["camera"])
            for camera, (_, counters) in cameras.items():
                counter.add_metric([camera], getattr(counters, field))
            yield counter
        latency = HistogramMetricFamily(
            "anonymizer_camera_latency_seconds", "From a picture's arrival to its encoded form", labels=["camera"]
        )
        for camera, (_, counters) in cameras.items():
            sums = map(float, accumulate(counters.latency.counts))
            latency.add_metric([camera], list(zip(_BOUNDS, sums, strict=True)), counters.latency.total)
        yield latency
