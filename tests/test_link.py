from __future__ import annotations

import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer import link
from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.link import MAIN, SUB, Decoder, Kind, LinkError, Outbox


def unit(size: int = 10, key: bool = False, time: float = 1.0) -> AccessUnit:
    return AccessUnit(Codec.H264, bytes(size), key, time, time + 5)


def received(end: socket.socket) -> list[link.Message]:
    end.setblocking(False)
    decoder, messages = Decoder(), []
    while True:
        try:
            data = end.recv(1 << 16)
        except BlockingIOError:
            return messages
        messages += decoder.feed(data)


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 255), st.binary(max_size=50))), st.data())
def test_messages_survive_any_cutting_of_the_stream(sent: list[tuple[Kind, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(link.encode(kind, payload, channel) for kind, channel, payload in sent)
    decoder, got = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += decoder.feed(stream[:size])
        stream = stream[size:]
    assert [(m.kind, m.channel, m.payload) for m in got] == sent


def test_access_units_survive() -> None:
    (message,) = Decoder().feed(link.encode_unit(unit(7, True, 3.25), SUB))
    assert (message.kind, message.channel) == (Kind.UNIT, SUB)
    assert message.unit() == unit(7, True, 3.25)


@given(st.binary(min_size=8, max_size=100))
def test_nonsense_is_refused_or_waits_but_never_breaks(data: bytes) -> None:
    try:
        for message in Decoder().feed(data):
            message.unit()
    except LinkError:
        pass


def test_a_service_that_does_not_read_never_stops_the_worker() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox(ours, limit=100_000)
        taken = [outbox.put_unit(unit(20_000, index % 10 == 0, index), MAIN) for index in range(200)]
        for _ in range(50):
            outbox.flush()
        assert not all(taken)
        assert outbox.dropped > 100
        # From here on only whole groups of pictures arrive: after a gap the first one is a key frame.
        times = []
        while not outbox.empty:
            times += [m.unit() for m in received(theirs)]
            outbox.flush()
        times += [m.unit() for m in received(theirs)]
        for before, after in itertools.pairwise(times):
            assert after.time == before.time + 1 or after.key


def test_a_silent_channel_waits_for_its_key_frame() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox(ours, limit=1000)
        assert outbox.put_unit(unit(500, True), MAIN)
        assert not outbox.put_unit(unit(900), MAIN)
        assert not outbox.put_unit(unit(10), MAIN)
        assert outbox.put_unit(unit(10, True), MAIN)
        assert outbox.put_unit(unit(10), MAIN)


def test_a_service_that_is_gone_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    outbox = Outbox(ours)
    outbox.put(link.encode(Kind.STATE, bytes(10)))
    with ours, pytest.raises(LinkError):
        outbox.flush()
