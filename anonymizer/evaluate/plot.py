"""Plots as SVG texts that stand in the page itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from anonymizer.frame import F32

COLOURS = ("#1f5fa8", "#c9570a", "#4a8f3c", "#7a4a9e", "#8a6d1d", "#444444")
_WIDTH, _ROW, _LEFT, _RIGHT = 640, 22, 200, 90


def bars(title: str, rows: Sequence[tuple[str, float, float, float]], low: float, high: float) -> str:
    """Horizontal bars with intervals: (label, value, lower end, upper end) each, on an axis from low to high."""
    high = max([high, *(row[3] for row in rows)], default=high)
    span = max(high - low, 1e-9)

    def at(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) / span * (_WIDTH - _LEFT - _RIGHT)

    parts = []
    for i, (label, value, least, most) in enumerate(rows):
        y = 30 + i * _ROW
        parts += [
            _text(_LEFT - 8, y + 12, label, "end"),
            f'<rect x="{_LEFT}" y="{y}" width="{at(value) - _LEFT:.1f}" height="15" fill="{COLOURS[0]}"/>',
            f'<path d="M{at(least):.1f} {y + 7.5}H{at(most):.1f}M{at(least):.1f} {y + 3}v9M{at(most):.1f} {y + 3}v9" '
            'stroke="#222" fill="none"/>',
            _text(_WIDTH - _RIGHT + 10, y + 12, f"{value:.4g}", "start"),
        ]
    return _frame(title, parts, 40 + len(rows) * _ROW)


def histogram(title: str, series: Sequence[tuple[str, F32]], low: float, high: float, bins: int = 60) -> str:
    """Distributions as outlines over one axis from low to high, each of area one: (label, values)."""
    height, base = 220, 190
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(np.clip(values, low, high), edges)[0] / max(1, len(values)) for _, values in series]
    top = max([float(c.max()) for c in counts], default=1.0) or 1.0
    left, wide = 30, _WIDTH - 60
    parts = [f'<path d="M{left} {base}H{left + wide}" stroke="#222"/>']
    for tick in np.linspace(low, high, 6):
        x = left + (tick - low) / (high - low) * wide
        parts += [f'<path d="M{x:.1f} {base}v4" stroke="#222"/>', _text(x, base + 17, f"{tick:.2g}", "middle")]
    for i, ((label, values), share) in enumerate(zip(series, counts, strict=True)):
        colour = COLOURS[i % len(COLOURS)]
        steps = "".join(
            f"L{left + j / bins * wide:.1f} {base - s / top * 140:.1f}h{wide / bins:.2f}" for j, s in enumerate(share)
        )
        parts += [
            f'<path d="M{left} {base}{steps}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            _text(left + wide, 34 + 15 * i, f"{label} ({len(values)})", "end", colour),
        ]
    return _frame(title, parts, height)


def scatter(title: str, points: Sequence[tuple[float, float]], across: str, up: str, high: float) -> str:
    """Points on two axes from 0 to high, with the diagonal."""
    side, left, top = 300, 60, 30

    def at(x: float, y: float) -> tuple[float, float]:
        return left + min(x, high) / high * side, top + side - min(y, high) / high * side

    (x0, y0), (x1, y1) = at(0, 0), at(high, high)
    parts = [
        f'<path d="M{x0} {y1}V{y0}H{x1}" stroke="#222" fill="none"/>',
        f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#999" stroke-dasharray="4"/>',
        _text((x0 + x1) / 2, y0 + 18, f"{across}, 0 to {high:.3g}", "middle"),
        _text(x1 + 10, y1 + 10, f"up: {up}", "start"),
    ]
    for x, y in points:
        px, py = at(x, y)
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{COLOURS[0]}" fill-opacity="0.5"/>')
    return _frame(title, parts, side + 70)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _frame(title: str, parts: Sequence[str], height: int) -> str:
    head = f'<text x="8" y="18" font-weight="bold" fill="#222">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>{head}{"".join(parts)}</svg>'
    )
