from __future__ import annotations

import pytest

from anonymizer.access_unit import AccessUnit, AudioParameters, Codec, parameter_sets, split
from anonymizer.publish import Stream
from anonymizer.publish.broadcast import AUDIO, VIDEO, Broadcast
from anonymizer.publish.message import interleave

KEY = b"\0\0\1\x67\x42\xc0\x1e\xab\0\0\1\x68\xce\x3c\x80\0\0\1\x65idr"
OTHER = b"\0\0\1\x41slice"
HEVC = b"\0\0\1\x40\x01ab\0\0\1\x42\x01ab\0\0\1\x44\x01ab\0\0\1\x26\x01idr"


def picture(index: int, key: bool = False, codec: Codec = Codec.H264) -> AccessUnit:
    return AccessUnit(
        codec, (KEY if codec is Codec.H264 else HEVC) if key else OTHER, key, index / 25, 1e9 + index / 25
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Listener:
    """A sink, and a player."""

    def __init__(self, fails: bool = False) -> None:
        self.got = []
        self.fails = fails
        self.ended = 0
        self.broadcast: Broadcast | None = None

    def take(self, unit):
        if self.fails:
            raise RuntimeError("disk full")
        self.got.append(unit)

    def deliver(self, track, packed):
        self.got.append((track, packed))

    def end(self):
        self.ended += 1
        if self.broadcast is not None:
            self.broadcast.leave(self)


def test_units_reach_every_sink_until_it_leaves():
    stream, one, two = Stream("gate"), Listener(), Listener()
    stream.subscribe(one)
    stream.subscribe(two)
    stream.subscribe(two)
    stream.publish(picture(0, key=True))
    stream.unsubscribe(one)
    stream.publish(picture(1))
    assert [unit.key for unit in one.got] == [True]
    assert [unit.key for unit in two.got] == [True, False]
    assert stream.units == 2


def test_a_sink_that_fails_costs_the_others_nothing(caplog):
    stream, bad, good = Stream("gate"), Listener(fails=True), Listener()
    stream.subscribe(bad)
    stream.subscribe(good)
    for index in range(3):
        stream.publish(picture(index))
    assert len(good.got) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "stream gate: Listener failed and gets no more pictures"
    ]


def test_parameter_sets_come_from_the_first_key_frame_and_follow_changes():
    stream = Stream("gate")
    stream.publish(picture(0))
    assert stream.video is None
    stream.publish(picture(1, key=True))
    assert stream.video is not None and stream.video.sets == (b"\x67\x42\xc0\x1e\xab", b"\x68\xce\x3c\x80")
    first = stream.video
    stream.publish(picture(2, key=True))
    assert stream.video is first
    stream.publish(AccessUnit(Codec.H264, KEY.replace(b"\x1e", b"\x1f"), True, 3.0, 3.0))
    assert stream.video.sets[0] == b"\x67\x42\xc0\x1f\xab"


def test_key_frames_are_asked_for_at_most_twice_a_second():
    clock, asked = Clock(), []
    stream = Stream("gate", request_key=lambda: asked.append(clock.now), clock=clock)
    stream.want_key()
    stream.publish(picture(0, key=True))
    for index in range(1, 30):  # somebody joins with each picture, and no key frame comes
        clock.now = index / 25
        stream.want_key()
        stream.publish(picture(index))
    assert asked == [0.0, 0.52, 1.04]


def test_a_key_frame_that_comes_anyway_answers_the_request():
    clock, asked = Clock(), []
    stream = Stream("gate", request_key=lambda: asked.append(clock.now), clock=clock)
    stream.want_key()
    clock.now = 0.2
    stream.want_key()
    stream.publish(picture(0, key=True))
    clock.now = 1.0
    stream.publish(picture(1))
    assert asked == [0.0]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broadcast(clock):
    stream = Stream("gate", audio=AudioParameters(Codec.PCMU, 8000), clock=clock)
    stream.publish(picture(0, key=True))
    broadcast = Broadcast(stream, 1400, clock)
    assert broadcast.ready() is not None
    return broadcast


def rtp(packet: bytes) -> tuple[int, int, int]:
    """Sequence number, timestamp, SSRC."""
    return int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[4:8], "big"), int.from_bytes(packet[8:12], "big")


def test_not_ready_before_the_parameter_sets():
    broadcast = Broadcast(Stream("gate"), 1400)
    assert broadcast.ready() is None and broadcast.tracks == {}


def test_packs_once_for_all_and_nothing_for_nobody(broadcast, clock):
    packer, players = broadcast.tracks[VIDEO].packer, [Listener(), Listener()]
    broadcast.stream.publish(picture(1))
    assert packer.packets == 0
    for each in players:
        broadcast.join(each)
    broadcast.stream.publish(picture(2))
    assert packer.packets == 1
    assert players[0].got[0][1] is players[1].got[0][1]
    packed = players[0].got[0][1]
    assert packed.framed(0, 1) is packed.framed(0, 1)
    assert packed.report and len(packed.packets) == 1
    assert packed.framed(2, 3) == interleave(3, packed.report) + interleave(2, packed.packets[0])
    for each in players:
        broadcast.leave(each)
    broadcast.stream.publish(picture(3))
    assert packer.packets == 1 and broadcast.players == 0


def test_each_key_frame_goes_with_reports_on_the_cameras_clock(broadcast, clock):
    player = Listener()
    broadcast.join(player)
    broadcast.stream.publish(picture(1))
    clock.now = 0.04
    broadcast.stream.publish(picture(2, key=True))
    broadcast.stream.publish(AccessUnit(Codec.PCMU, b"\xff" * 160, True, 0.08, 1e9 + 0.08))
    clock.now = 0.08
    broadcast.stream.publish(picture(3))
    clock.now = 6.0
    broadcast.stream.publish(picture(150))
    first, key, sound, between, later = (packed for _, packed in player.got)
    assert [track for track, _ in player.got] == [VIDEO, VIDEO, AUDIO, VIDEO, VIDEO]
    assert first.report and key.report and sound.report and later.report and not between.report
    _, timestamp, ssrc = rtp(key.packets[0])
    assert int.from_bytes(key.report[4:8], "big") == ssrc
    assert int.from_bytes(key.report[16:20], "big") == timestamp
    seconds, fraction = int.from_bytes(key.report[8:12], "big"), int.from_bytes(key.report[12:16], "big")
    assert seconds - 2_208_988_800 + fraction / (1 << 32) == pytest.approx(1e9 + 0.08, abs=1e-6)


def test_a_restarted_camera_goes_on_in_the_same_rtp_stream(broadcast, clock):
    player = Listener()
    broadcast.join(player)
    clock.now = 50.0
    broadcast.stream.publish(picture(1250, key=True))
    clock.now = 53.0
    broadcast.stream.publish(picture(0, key=True))
    before, after = (rtp(packed.packets[-1]) for _, packed in player.got)
    assert after[2] == before[2]
    assert after[0] - before[0] & 0xFFFF == 2  # parameter sets, slice
    assert after[1] - before[1] & 0xFFFFFFFF == 3 * 90_000
    assert player.ended == 0


def test_a_changed_codec_ends_the_players_and_makes_a_new_track(broadcast):
    player = Listener()
    player.broadcast = broadcast
    broadcast.join(player)
    old = broadcast.tracks[VIDEO].packer
    broadcast.stream.publish(picture(1, key=True, codec=Codec.H265))
    assert player.ended == 1 and player.got == []
    assert broadcast.ready().codec is Codec.H265
    assert broadcast.tracks[VIDEO].packer.ssrc != old.ssrc


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_encoders_key_frame_carries_its_parameter_sets(tools, codec):
    encoder = tools.Encoder(codec)
    first, second = encoder.next(0, 0), encoder.next(0.04, 0.04)
    assert first.key and parameter_sets(codec, split(first.data)) is not None
    assert not second.key and parameter_sets(codec, split(second.data)) is None
