"""Events of tracks: what is told, how often, and that nothing is kept for ever."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.events.tracks import Kind, TrackEvent, TrackLog, zones_of
from anonymizer.frame import Box, Face, Frame, Planes
from anonymizer.policy import load

WALL = 1_700_000_000.0


def frame(time: float, *faces: Face) -> Frame:
    planes = Planes(*(np.zeros(size, np.uint8) for size in ((72, 128), (36, 64), (36, 64))))
    return Frame(0, None, time, planes, list(faces))


def face(track: int = 1, box: Box = (10, 20, 30, 40), action: str = "replace", rule: str = "default") -> Face:
    return Face(track, box, 0.9, action=action, method=action, rule=rule)


def test_a_visit_from_beginning_to_end() -> None:
    log = TrackLog("gate", "e1", zones=lambda box, width, height: ["door"] if box[0] < width / 2 else [])
    (new,) = log.push(frame(5.0, face()), WALL)
    assert (new.kind, new.before) == (Kind.NEW, None)
    assert log.push(frame(5.5, face()), WALL + 0.5) == []
    (update,) = log.push(frame(6.0, face(action="blur", rule="night")), WALL + 1)
    assert (update.kind, update.before) == (Kind.UPDATE, new.after)
    assert update.after.action == "blur"
    (moved,) = log.push(frame(7.1, face(box=(80, 20, 30, 40), action="blur", rule="night")), WALL + 2.1)
    assert (moved.after.zones, moved.before) == ((), update.after)
    assert log.push(frame(9.0), WALL + 4) == []
    (end,) = log.push(frame(9.2), WALL + 4.2)
    assert end.kind is Kind.END
    assert (end.after.start, end.after.last, end.after.end) == (WALL, WALL + 2.1, WALL + 2.1)
    assert len(log) == 0


def test_the_payload_holds_these_fields_and_no_others() -> None:
    (event,) = TrackLog("gate", "e1").push(frame(0.0, face()), WALL + 0.25)
    data = json.loads(json.dumps(event.to_json()))
    assert data["before"] is None
    assert data["after"] == {
        "id": "gate-e1-1",
        "camera": "gate",
        "epoch": "e1",
        "track": 1,
        "start_time": WALL + 0.25,
        "last_time": WALL + 0.25,
        "end_time": None,
        "start": "2023-11-14T22:13:20.250Z",
        "last": "2023-11-14T22:13:20.250Z",
        "end": None,
        "zones": [],
        "action": "replace",
        "method": "replace",
        "rule": "default",
        "box": [10, 20, 30, 40],
    }


def test_a_change_within_the_interval_is_told_when_it_is_over() -> None:
    log = TrackLog("gate", "e1")
    log.push(frame(0.0, face()), WALL)
    assert log.push(frame(0.2, face(action="blur")), WALL + 0.2) == []
    assert [e.after.action for e in log.push(frame(1.0, face(action="blur")), WALL + 1)] == ["blur"]


def test_what_changes_back_within_the_interval_is_not_told() -> None:
    log = TrackLog("gate", "e1")
    log.push(frame(0.0, face()), WALL)
    log.push(frame(0.2, face(action="blur")), WALL + 0.2)
    assert log.push(frame(1.5, face()), WALL + 1.5) == []


def test_zones_are_asked_no_more_often_than_updates_are_told() -> None:
    asked = 0

    def zones(box: Box, width: int, height: int) -> list[str]:
        nonlocal asked
        asked += 1
        return []

    log = TrackLog("gate", "e1", zones=zones)
    for i in range(100):
        log.push(frame(i / 25, face(box=(i, 20, 30, 40))), WALL)
    assert asked <= 5


def test_a_clock_set_back_ends_all_tracks_and_begins_anew() -> None:
    log = TrackLog("gate", "e1")
    log.push(frame(100.0, face(1), face(2)), WALL)
    events = log.push(frame(1.0, face(1)), WALL)
    assert [(e.kind, e.after.track) for e in events] == [(Kind.END, 1), (Kind.END, 2), (Kind.NEW, 1)]


def test_at_most_the_limit_is_open() -> None:
    log = TrackLog("gate", "e1", limit=3)
    events = log.push(frame(0.0, *(face(track) for track in range(5))), WALL)
    assert len(log) == 3
    assert [e.after.track for e in events if e.kind is Kind.END] == [0, 1]


def test_a_face_that_stays_holds_back_no_end_of_another() -> None:
    log = TrackLog("gate", "e1", limit=3)
    log.push(frame(0.0, face(1), face(2)), WALL)
    log.push(frame(1.5, face(1)), WALL + 1.5)
    assert [e.after.track for e in log.push(frame(2.1, face(1)), WALL + 2.1)] == [2]
    log.push(frame(3.0, face(3), face(4)), WALL + 3)
    log.push(frame(3.1, face(1)), WALL + 3.1)
    ended = [e.after.track for e in log.push(frame(3.2, face(5)), WALL + 3.2) if e.kind is Kind.END]
    assert ended == [3], "the one unseen for longest"


def test_a_box_that_is_not_finite_is_no_face() -> None:
    assert TrackLog("gate", "e1").push(frame(0.0, face(box=(math.nan, 0, 10, 10))), WALL) == []


def test_flush_ends_what_is_open() -> None:
    log = TrackLog("gate", "e1")
    log.push(frame(0.0, face(1), face(2)), WALL)
    assert [e.kind for e in log.flush()] == [Kind.END, Kind.END]
    assert log.flush() == []


def test_zones_come_from_the_rules_of_the_camera() -> None:
    half = "polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]"
    text = f"zones:\n  left: {{{half}}}\n  elsewhere: {{{half}, camera: yard}}\n"
    zones = zones_of(load(text, "rules.yaml"), "gate")
    assert zones((10, 10, 20, 20), 100, 100) == ["left"]
    assert zones((60, 10, 20, 20), 100, 100) == []
    assert zones((40, 10, 20, 20), 100, 100) == ["left"], "half of it is in"


STEPS = st.lists(
    st.tuples(
        st.floats(-3, 3), st.dictionaries(st.integers(0, 6), st.sampled_from(["blur", "solid", "replace"]), max_size=5)
    ),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS)
def test_every_track_is_told_as_one_story(steps: list[tuple[float, dict[int, str]]]) -> None:
    log, time = TrackLog("gate", "e1", limit=4), 0.0
    told: list[tuple[float, TrackEvent]] = []
    for step, faces in steps:
        time += step
        seen = [face(track, action=action) for track, action in faces.items()]
        told += [(time, event) for event in log.push(frame(time, *seen), WALL + time)]
        assert len(log) <= 4
    told += [(time, event) for event in log.flush()]
    open_now: dict[int, tuple[float, TrackEvent]] = {}
    for when, event in told:
        track = event.after.track
        if event.kind is Kind.NEW:
            assert track not in open_now
        else:
            since, last = open_now[track]
            assert event.before == last.after
            assert event.after.start == last.after.start
            if event.kind is Kind.UPDATE:
                assert when - since >= 1.0
                assert event.after.action != last.after.action
        if event.kind is Kind.END:
            assert event.after.end == event.after.last
            del open_now[track]
        else:
            open_now[track] = when, event
    assert not open_now
