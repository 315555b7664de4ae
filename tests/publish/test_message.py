from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.publish import message
from anonymizer.publish.message import Frame, Limits, Parser, ProtocolError, Request, Transport, locate

STREAM = (
    b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    b"$\x01\x00\x04abcd"
    b"\r\nSET_PARAMETER rtsp://host/gate RTSP/1.0\r\nCSeq:2\r\nX: a\r\nx:  b \r\nContent-Length: 4\r\n\r\n$xyz"
    b"$\x00\x00\x00"
)
PARSED = [
    Request("OPTIONS", "*", {"cseq": "1"}),
    Frame(1, b"abcd"),
    Request("SET_PARAMETER", "rtsp://host/gate", {"cseq": "2", "x": "a, b", "content-length": "4"}, b"$xyz"),
    Frame(0, b""),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_cuts_of_the_network_do_not_matter(cuts):
    parser, found = Parser(Limits()), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        found += parser.feed(STREAM[start:end])
    assert found == PARSED


HOSTILE = {
    "no request line": (b"hello\r\n\r\n", 400),
    "a response": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", 400),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "RTSP 2": (b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505),
    "no CSeq": (b"OPTIONS * RTSP/1.0\r\n\r\n", 400),
    "CSeq no number": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1a\r\n\r\n", 400),
    "CSeq in other digits": ("OPTIONS * RTSP/1.0\r\nCSeq: ١\r\n\r\n".encode(), 400),
    "CSeq twice": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nCSeq: 2\r\n\r\n", 400),
    "folded header": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n more\r\n\r\n", 400),
    "bare CR in a header": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: a\rb\r\n\r\n", 400),
    "zero byte": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: a\0b\r\n\r\n", 400),
    "not UTF-8": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: \xff\r\n\r\n", 400),
    "negative length": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", 400),
    "length twice": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    "huge body": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 999999999\r\n\r\n", 413),
    "endless head": (b"OPTIONS * RTSP/1.0\r\nX: " + b"a" * 8192, 413),
    "many headers": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n" + b"X: a\r\n" * 64 + b"\r\n", 413),
    "huge frame": (b"$\x00\xff\xff", 413),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}


@pytest.mark.parametrize(("data", "status"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused(data, status):
    with pytest.raises(ProtocolError) as caught:
        list(Parser(Limits()).feed(data))
    assert caught.value.status == status
    assert status in message.REASONS


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_a_protocol_error(data):
    with suppress(ProtocolError):
        list(Parser(Limits(head=128, body=64, frame=64)).feed(data))


def test_response():
    text = message.response(401, 7, {"A": "x", "B": ["y", "z"]}, b"body")
    assert text == b"RTSP/1.0 401 Unauthorized\r\nCSeq: 7\r\nA: x\r\nB: y\r\nB: z\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("rtsp://host/gate", ("gate", None)),
        ("rtsp://host:8554/gate/", ("gate", None)),
        ("rtsp://host/gate/sub/trackID=1", ("gate/sub", 1)),
        ("rtsp://host/gate/trackID=0?x=1", ("gate", 0)),
        ("rtsp://user:pass@host/gate%20two", ("gate two", None)),
        ("rtsp://host", ("", None)),
        ("rtsp://host/gate/trackID=", ("gate/trackID=", None)),
        ("rtsp://host/gate/trackID=9999", ("gate/trackID=9999", None)),
        ("rtsp://host/a%0d%0ab", ("", None)),
        ("/gate", ("gate", None)),
        ("*", ("", None)),
    ],
)
def test_locate(uri, place):
    assert locate(uri) == place


@pytest.mark.parametrize(
    ("header", "choices"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", [Transport(True, 2, 3)]),
        ("RTP/AVP/TCP;interleaved=4", [Transport(True, 4, 5)]),
        ("RTP/AVP/TCP;unicast", [Transport(True)]),
        ('RTP/AVP;unicast;client_port=5000-5001;mode="PLAY"', [Transport(False, 5000, 5001)]),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001;destination=192.0.2.9", [Transport(False, 5000, 5001)]),
        (
            "RTP/AVP;multicast, RTP/AVP;unicast;client_port=6000-6001, RTP/AVP/TCP;interleaved=0-1",
            [Transport(False, 6000, 6001), Transport(True, 0, 1)],
        ),
        ("RTP/AVP;unicast", []),
        ("RTP/AVP;unicast;client_port=80-81", []),
        ("RTP/AVP;unicast;client_port=65535", []),
        ("RTP/AVP/TCP;interleaved=255", []),
        ("RTP/AVP/TCP;interleaved=1-1", []),
        ("RTP/AVP/TCP;interleaved=a-b", []),
        ('RTP/AVP/TCP;interleaved=0-1;mode="RECORD"', []),
        ("RTP/SAVP/TCP;interleaved=0-1", []),
        ("", []),
    ],
)
def test_parse_transports(header, choices):
    assert message.parse_transports(header) == choices
