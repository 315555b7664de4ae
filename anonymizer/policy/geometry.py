"""Boxes against polygons, in fractions of the picture (0–1, y downwards).

Every test errs to the safe side: ``overlaps`` counts a touch, ``inside`` does not. No NumPy: for a handful of corners
plain floats are several times faster.
"""

from __future__ import annotations

Point = tuple[float, float]
Polygon = tuple[Point, ...]
Rect = tuple[float, float, float, float]
"""left, top, right, bottom in fractions of the picture."""


def grown(rect: Rect, share: float) -> Rect:
    """rect with share of its width and height added on each side."""
    dx, dy = (rect[2] - rect[0]) * share, (rect[3] - rect[1]) * share
    return rect[0] - dx, rect[1] - dy, rect[2] + dx, rect[3] + dy


def touch(a: Rect, b: Rect) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def bounds(polygon: Polygon) -> Rect:
    xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def contains(polygon: Polygon, x: float, y: float) -> bool:
    """Even-odd rule; a point on the outline may fall on either side."""
    odd = False
    xj, yj = polygon[-1]
    for xi, yi in polygon:
        if (yi > y) != (yj > y) and x < (xj - xi) * (y - yi) / (yj - yi) + xi:
            odd = not odd
        xj, yj = xi, yi
    return odd


def _edge_meets(rect: Rect, x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether a segment meets the closed rectangle (Liang and Barsky 1984)."""
    dx, dy = x1 - x0, y1 - y0
    first, last = 0.0, 1.0
    for step, near, far in ((dx, rect[0] - x0, rect[2] - x0), (dy, rect[1] - y0, rect[3] - y0)):
        if step == 0.0:
            if near > 0.0 or far < 0.0:
                return False
            continue
        enter, leave = near / step, far / step
        if enter > leave:
            enter, leave = leave, enter
        first, last = max(first, enter), min(last, leave)
        if first > last:
            return False
    return True


def _outline_meets(polygon: Polygon, rect: Rect) -> bool:
    xj, yj = polygon[-1]
    for xi, yi in polygon:
        if _edge_meets(rect, xj, yj, xi, yi):
            return True
        xj, yj = xi, yi
    return False


def overlaps(polygon: Polygon, rect: Rect) -> bool:
    """Whether rect and polygon share a point."""
    return _outline_meets(polygon, rect) or contains(polygon, rect[0], rect[1])


def inside(polygon: Polygon, rect: Rect) -> bool:
    """Whether polygon contains the whole of rect, without a touch of its outline."""
    return not _outline_meets(polygon, rect) and contains(polygon, rect[0], rect[1])


def area(polygon: Polygon) -> float:
    """Signed area (shoelace formula)."""
    pairs = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2


def _side(a: Point, b: Point, p: Point) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the closed segments a–b and c–d share a point."""
    s = [_side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)]
    if max(s[0], s[1]) < 0 or min(s[0], s[1]) > 0 or max(s[2], s[3]) < 0 or min(s[2], s[3]) > 0:
        return False
    return (
        max(a[0], b[0]) >= min(c[0], d[0])
        and max(c[0], d[0]) >= min(a[0], b[0])
        and (max(a[1], b[1]) >= min(c[1], d[1]) and max(c[1], d[1]) >= min(a[1], b[1]))
    )


def _edges(polygon: Polygon) -> list[tuple[Point, Point]]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def crosses_itself(polygon: Polygon) -> bool:
    edges = _edges(polygon)
    n = len(edges)
    return any(_cross(*edges[i], *edges[j]) for i in range(n) for j in range(i + 2, n) if (i, j) != (0, n - 1))


def convex(polygon: Polygon) -> bool:
    n = len(polygon)
    turns = [_side(polygon[i], polygon[(i + 1) % n], polygon[(i + 2) % n]) for i in range(n)]
    return all(t >= 0 for t in turns) or all(t <= 0 for t in turns)


def within(small: Polygon, large: Polygon) -> bool:
    """Whether large surely contains small: exact for a convex large, and without any touch for a concave one."""
    if small == large:
        return True
    a, b = bounds(small), bounds(large)
    if a[0] < b[0] or a[1] < b[1] or a[2] > b[2] or a[3] > b[3]:
        return False
    if convex(large):
        sign = 1 if area(large) > 0 else -1
        return all(_side(a, b, p) * sign >= 0 for a, b in _edges(large) for p in small)
    if any(_cross(*e, *f) for e in _edges(small) for f in _edges(large)):
        return False
    return contains(large, *small[0])
