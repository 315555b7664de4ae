from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.publish import rtcp


def test_sender_report_bytes():
    data = rtcp.sender_report(0x01020304, 1.5, (1 << 32) + 7, packets=9, octets=1000, cname="ab")
    assert data[:28] == struct.pack(">BBHIIIIII", 0x80, 200, 6, 0x01020304, rtcp.NTP_EPOCH + 1, 1 << 31, 7, 9, 1000)
    assert data[28:] == struct.pack(">BBHI", 0x81, 202, 3, 0x01020304) + b"\x01\x02ab" + b"\0\0\0\0"


@given(st.text(alphabet="abcdef", max_size=40))
def test_own_compounds_can_be_read(cname):
    assert rtcp.parse(rtcp.sender_report(1, 2e9, 3, packets=4, octets=5, cname=cname)) == []
    assert rtcp.parse(rtcp.bye(1)) == []
    assert len(rtcp.bye(1)) == 16


def receiver_report(loss: int, count: int = 1) -> bytes:
    block = struct.pack(">IIIIII", 7, loss, 0, 33, 0, 0)
    return struct.pack(">BBHI", 0x80 | count, 201, 1 + 6 * count, 99) + block * count


def test_receiver_report():
    reports = rtcp.parse(receiver_report(0x40FFFFFE, count=2))
    assert reports == [rtcp.Report(7, 0.25, -2, 33)] * 2


HOSTILE = {
    "empty": b"",
    "one byte": b"\x80",
    "version 0": b"\x00\xc9\x00\x01abcd",
    "no RTCP type": b"\x80\x60\x00\x01abcd",
    "longer than it is": b"\x80\xc9\x00\x02abcd",
    "blocks announced, none there": b"\x9f\xc9\x00\x01abcd",
    "rest of 3 bytes": receiver_report(0) + b"abc",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused(data):
    with pytest.raises(ValueError, match="RTCP"):
        rtcp.parse(data)


@given(st.binary(max_size=100))
def test_any_bytes_give_reports_or_valueerror(data):
    with suppress(ValueError):
        assert isinstance(rtcp.parse(data), list)
