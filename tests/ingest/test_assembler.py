from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.ingest.assembler import CAREFUL, MOST, START, Assembler, Unit

ROOM = 100
"""Bytes of a NAL unit that a packet takes."""


def nal(kind: int, size: int, first: bool = True) -> bytes:
    """An H.264 NAL unit; of a slice, the first or a later one of its picture."""
    return bytes([kind, 0x88 if first else 0x44]) + bytes([7]) * (size - 2)


def picture(random_: random.Random, slices: int = 1, key: bool = False) -> list[bytes]:
    nals = [nal(7, 20), nal(8, 6)] if key else []
    sizes = [random_.randrange(3, 900) for _ in range(slices)]
    return nals + [nal(5 if key else 1, size, first=not at) for at, size in enumerate(sizes)]


def packed(nals: list[bytes], room: int = ROOM) -> Iterator[bytes]:
    """As libavformat's depacketizer gives what RFC 6184's packetizers send: full fragments, then the rest."""
    for one in nals:
        if len(one) <= room + 2:
            yield START + one
            continue
        yield START + one[: room + 1]
        yield from (one[at : at + room] for at in range(room + 1, len(one), room))


def joined(nals: list[bytes]) -> bytes:
    return b"".join(START + one for one in nals)


def stream(pictures: list[list[bytes]], room: int = ROOM) -> tuple[list[Unit], list[int], Assembler]:
    """The units, for each picture how many had been given when its last fragment was in, and the assembler."""
    assembler, units, given_by = Assembler(False), [], []
    for at, nals in enumerate(pictures):
        for fragment in packed(nals, room):
            units += assembler.push(fragment, 3000 * at)
        given_by.append(len(units))
    return units, given_by, assembler


SHAPES = st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=30)


@given(SHAPES, st.randoms(use_true_random=False))
def test_units_are_the_pictures(shapes: list[tuple[int, bool]], random_: random.Random) -> None:
    pictures = [picture(random_, slices, key) for slices, key in shapes]
    units, _, _ = stream(pictures)
    assert [u.data for u in units[: len(pictures) - 1]] == [joined(nals) for nals in pictures[:-1]]
    assert [u.pts for u in units[: len(pictures) - 1]] == [3000 * at for at in range(len(pictures) - 1)]
    assert [u.key for u in units[: len(pictures) - 1]] == [key for _, key in shapes[:-1]]


@pytest.mark.parametrize("slices", [1, 4])
def test_once_believed_a_picture_comes_with_its_last_fragment(slices: int) -> None:
    random_ = random.Random(1)
    pictures = [picture(random_, slices, key=at % 25 == 0) for at in range(400)]
    units, given_by, _ = stream(pictures)
    assert [u.data for u in units] == [joined(nals) for nals in pictures[: len(units)]]
    at_once = [count == at + 1 for at, count in enumerate(given_by)]
    assert not any(at_once[:CAREFUL])
    assert sum(at_once[100:]) > 0.95 * len(at_once[100:])  # not where the last fragment happens to be full


def test_a_camera_whose_key_pictures_have_more_slices_is_not_believed_too_early() -> None:
    random_ = random.Random(2)
    pictures = [picture(random_, 4 if at % 25 == 0 else 1, key=at % 25 == 0) for at in range(400)]
    units, _, _ = stream(pictures)
    assert [u.data for u in units] == [joined(nals) for nals in pictures[: len(units)]]


def test_even_fragments_are_waited_for() -> None:
    """A packetizer that makes all fragments of a NAL unit alike: the rule says nothing, the next picture does."""
    random_ = random.Random(3)
    assembler, units = Assembler(False), []
    pictures = [[nal(1, random_.randrange(150, 900))] for _ in range(300)]
    for at, (one,) in enumerate(pictures):
        parts = -(-len(one) // ROOM)
        size = -(-len(one) // parts)
        for begin in range(0, len(one), size):
            units += assembler.push((b"" if begin else START) + one[begin : begin + size], 3000 * at)
    assert [u.data for u in units] == [joined(nals) for nals in pictures[: len(units)]]


def test_a_broken_promise_costs_one_picture_and_makes_it_careful() -> None:
    random_ = random.Random(4)
    fine = [picture(random_) for _ in range(150)]
    units, given_by, assembler = stream(fine)
    assert given_by[-1] == 150
    body = nal(1, 500)
    for fragment in (START + body[:101], body[101:150], body[150:250], body[250:]):  # short in the middle
        units += assembler.push(fragment, 9_000_000)
    after = [picture(random_) for _ in range(CAREFUL * 4)]
    late = []
    for at, nals in enumerate(after):
        for fragment in packed(nals):
            late += assembler.push(fragment, 9_003_000 + 3000 * at)
        assert len(late) <= at  # each picture when the next begins
    (damaged,), (joint, *whole) = units[150:], late
    assert damaged.data + joint.data == START + body + joined(after[0])  # nothing is lost
    assert [u.data for u in whole] == [joined(nals) for nals in after[1 : len(late)]]
    assert len(late) >= len(after) - 1


def test_without_times_first_slices_tell_pictures_apart() -> None:
    random_ = random.Random(5)
    pictures = [picture(random_, 2) for _ in range(20)]
    assembler, units = Assembler(False), []
    for nals in pictures:
        for fragment in packed(nals):
            units += assembler.push(fragment, None)
    assert [u.data for u in units] == [joined(nals) for nals in pictures[:-1]]


def test_slices_in_one_packet_are_counted() -> None:
    assembler = Assembler(False)
    both = START + nal(1, 30) + START + nal(1, 30, first=False)
    assert assembler.push(both, 0) == []
    assert assembler.push(both, 3000) == [Unit(both, 0, False)]


def test_hevc() -> None:
    def hevc(kind: int, size: int, first: bool = True) -> bytes:
        return bytes([kind << 1, 1, 0x80 if first else 0]) + bytes([7]) * size

    assembler = Assembler(True)
    key = [hevc(32, 20), hevc(33, 30), hevc(34, 9), hevc(19, 50), hevc(19, 50, first=False)]
    next_ = hevc(1, 40)
    for one in key:
        assert assembler.push(START + one, 0) == []
    assert assembler.push(START + next_, 3000) == [Unit(joined(key), 0, True)]
    assert assembler.push(START + next_, 6000) == [Unit(START + next_, 3000, False)]


def test_what_never_makes_a_picture_is_forgotten() -> None:
    assembler, junk = Assembler(False), START + nal(6, 1 << 20)
    waiting = []
    for at in range(40):
        assert assembler.push(junk, 3000 * at) == []
        waiting.append(sum(map(len, assembler._parts)))
    assert max(waiting) <= MOST
    (unit,) = [*assembler.push(START + nal(1, 30), 9_000_000), *assembler.push(START + nal(1, 30), 9_003_000)]
    assert unit.data.endswith(START + nal(1, 30)) and len(unit.data) <= MOST
