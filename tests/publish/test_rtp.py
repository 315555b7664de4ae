from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.access_unit import AccessUnit, Codec, split
from anonymizer.publish.rtp import HEADER, Packer, Timeline, payloads


def unit(codec: Codec, data: bytes) -> AccessUnit:
    return AccessUnit(codec, data, True, 0.0, 0.0)


def depacketize(codec: Codec, parts: list[bytes]) -> list[bytes]:
    """What a receiver makes of payloads: RFC 6184 5.6–5.8, RFC 7798 4.4. Written apart from the packer."""
    single, aggregate, fragment = (1, 24, 28) if codec is Codec.H264 else (2, 48, 49)
    out: list[bytes] = []
    for part in parts:
        kind = part[0] & 31 if codec is Codec.H264 else part[0] >> 1 & 63
        if kind == aggregate:
            rest = part[single:]
            while rest:
                size = int.from_bytes(rest[:2], "big")
                out.append(rest[2 : 2 + size])
                rest = rest[2 + size :]
        elif kind == fragment:
            mark = part[single]
            if mark & 0x80:
                head = [part[0] & 0xE0 | mark & 31] if single == 1 else [part[0] & 0x81 | (mark & 63) << 1, part[1]]
                out.append(bytes(head))
            out[-1] += part[single + 1 :]
        else:
            out.append(part)
    return out


h264 = st.tuples(st.sampled_from([1, 5, 6, 7, 8]), st.binary(min_size=3, max_size=700))
h265 = st.tuples(st.sampled_from([1, 19, 32, 33, 34, 39]), st.binary(min_size=3, max_size=700))


def annex_b(nals: list[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


@given(st.sampled_from([Codec.H264, Codec.H265]), st.data(), st.integers(60, 500))
def test_a_receiver_gets_back_what_was_packed(codec, data, size):
    drawn = data.draw(st.lists(h264 if codec is Codec.H264 else h265, min_size=1, max_size=6))
    bodies = [(kind, body.replace(b"\0", b"\3") + b"\x80") for kind, body in drawn]
    nals = [(bytes([0x60 | k]) if codec is Codec.H264 else bytes([k << 1, 1])) + body for k, body in bodies]
    parts = payloads(unit(codec, annex_b(nals)), size)
    assert depacketize(codec, parts) == nals
    assert max(map(len, parts)) <= size


def test_parameter_sets_travel_together_and_the_delimiter_is_left_out():
    nals = [b"\x09\xf0", b"\x67" + b"s" * 20, b"\x68" + b"p" * 5, b"\x65" + b"i" * 50]
    first, second = payloads(unit(Codec.H264, annex_b(nals)), 100)
    assert first == b"\x78" + b"\0\x15" + nals[1] + b"\0\x06" + nals[2]
    assert second == nals[3]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_real_pictures_survive(tools, codec):
    encoder = tools.Encoder(codec)
    for _ in range(3):
        picture = encoder.next(0, 0)
        assert depacketize(codec, payloads(picture, 1388)) == split(picture.data)


def test_aac_header_tells_the_whole_size_in_each_fragment():
    first, second = payloads(unit(Codec.AAC, b"a" * 150), 100)
    assert first[:4] == second[:4] == struct.pack(">HH", 16, 150 << 3)
    assert first[4:] + second[4:] == b"a" * 150


def test_packets_are_numbered_stamped_and_the_last_is_marked():
    packer = Packer(96, 0xDEADBEEF, 0xFFFF, 112)
    packets = packer.pack(unit(Codec.H264, annex_b([b"\x65" + b"x" * 150])), (1 << 32) + 5)
    heads = [HEADER.unpack_from(packet) for packet in packets]
    assert heads == [(0x80, 96, 0xFFFF, 5, 0xDEADBEEF), (0x80, 0x80 | 96, 0, 5, 0xDEADBEEF)]
    assert packer.sequence == 1 and packer.packets == 2
    assert packer.octets == sum(len(packet) - 12 for packet in packets)


@pytest.mark.parametrize(
    ("channels", "sizes", "times"), [(1, [88, 88, 24], [7, 95, 183]), (3, [87, 87, 26], [7, 36, 65])]
)
def test_each_part_of_g711_has_its_own_time(channels, sizes, times):
    packets = Packer(0, 1, 1, 100, channels).pack(unit(Codec.PCMU, b"\xff" * 200), 7)
    assert [len(packet) - 12 for packet in packets] == sizes
    assert [int.from_bytes(packet[4:8], "big") for packet in packets] == times


def test_g711_is_not_marked():
    (packet,) = Packer(0, 1, 1, 1400).pack(unit(Codec.PCMU, b"\xff" * 160), 0)
    assert packet[1] == 0 and packet[12:] == b"\xff" * 160


class TestTimeline:
    def test_follows_the_camera_exactly(self):
        timeline = Timeline(90_000, 1000)
        ticks = [timeline.at(7 + index / 25, index / 25 + index % 3 * 0.01) for index in range(1000)]
        assert ticks == [1000 + 3600 * index for index in range(1000)]

    @pytest.mark.parametrize("restart_at", [0.0, 40.0, 90.0, 1e9])
    def test_goes_on_by_the_time_passed_here_when_the_camera_restarts(self, restart_at):
        timeline = Timeline(90_000, 0)
        before = timeline.at(42.0, 100.0)
        after = timeline.at(restart_at, 103.0)
        assert after - before == 3 * 90_000
        assert timeline.at(restart_at + 0.04, 103.04) - after == 3600

    @given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 100)), max_size=30))
    def test_never_runs_back(self, steps):
        timeline, now, ticks = Timeline(90_000, 0), 0.0, []
        for time, elapsed in steps:
            now += elapsed
            ticks.append(timeline.at(time, now))
        assert all(a < b for a, b in pairwise(ticks))

    def test_a_burst_after_a_stall_keeps_its_own_times(self):
        timeline = Timeline(1000, 0)
        assert [timeline.at(index / 10, 0.0 if index == 0 else 4.0) for index in range(4)] == [0, 100, 200, 300]

    def test_estimate(self):
        timeline = Timeline(90_000, 5)
        assert timeline.estimate(1.0) is None
        timeline.at(0.0, 1.0)
        assert timeline.estimate(2.0) == 90_005
