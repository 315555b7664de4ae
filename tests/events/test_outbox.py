"""The outbox: bounded whatever happens, in order, and the newest of each topic."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.events.outbox import Outbox
from anonymizer.events.topics import Delivery, Message


def queued(number: int) -> Message:
    return Message("events", str(number).encode(), Delivery.QUEUED)


def retained(topic: str, payload: bytes) -> Message:
    return Message(topic, payload, Delivery.RETAINED)


def drain(box: Outbox) -> list[Message]:
    taken = []
    while (message := box.take()) is not None:
        taken.append(message)
        box.sent(message)
    return taken


def test_the_oldest_event_goes_first_when_it_is_full() -> None:
    box = Outbox(3)
    for number in range(5):
        box.put(queued(number))
    assert drain(box) == [queued(2), queued(3), queued(4)]
    assert box.dropped == 2


def test_a_state_is_sent_once_and_again_on_a_new_connection() -> None:
    box = Outbox(3)
    box.put(retained("state", b"1"))
    box.put(retained("state", b"2"))
    box.put(retained("state", b"2"))
    assert drain(box) == [retained("state", b"2")]
    box.put(retained("state", b"2"))
    assert drain(box) == []
    box.put(retained("state", b"2"), again=True)
    assert drain(box) == [retained("state", b"2")]
    box.connected()
    assert drain(box) == [retained("state", b"2")]


def test_a_removed_state_is_forgotten_once_the_broker_has_it() -> None:
    box = Outbox(3)
    box.put(retained("state", b""))
    taken = box.take()
    assert taken is not None
    box.connected()
    assert drain(box) == [retained("state", b"")]
    box.connected()
    assert drain(box) == []


def test_a_picture_from_before_the_connection_is_not_sent() -> None:
    box = Outbox(3)
    box.put(Message("still", b"old", Delivery.NEWEST))
    box.connected()
    assert box.take() is None


def test_unsent_events_come_before_later_ones_and_the_bound_holds() -> None:
    box = Outbox(2)
    box.put(queued(1))
    box.put(queued(2))
    first, second = box.take(), box.take()
    assert first is not None
    assert second is not None
    box.put(queued(3))
    for message in (second, first):
        box.unsent(message)
    assert drain(box) == [queued(2), queued(3)]
    assert box.dropped == 1


@settings(deadline=None)
@given(st.lists(st.sampled_from(["put", "take", "sent", "unsent", "connected"]), max_size=60))
def test_every_event_is_sent_waits_or_is_counted(steps: list[str]) -> None:
    box, held, done, number = Outbox(3), [], Counter[Message](), 0
    for step in steps:
        if step == "put":
            box.put(queued(number))
            number += 1
        elif step == "take" and (message := box.take()) is not None:
            held.append(message)
        elif step == "sent" and held:
            message = held.pop(0)
            box.sent(message)
            done[message] += 1
        elif step == "unsent" and held:
            box.unsent(held.pop())
        elif step == "connected":
            box.connected()
        assert len(box) <= 3
    waiting = drain(box)
    assert waiting == sorted(waiting, key=lambda m: int(m.payload))
    assert len(waiting) + len(held) + done.total() + box.dropped == number
    assert max(done.values(), default=1) == 1
