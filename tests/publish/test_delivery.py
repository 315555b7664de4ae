"""How the media reaches clients that are quick, slow, stalled, gone, silent or many."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from itertools import pairwise

import pytest

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.publish import Stream

KEY_START = (24, 7, 5)  # STAP-A, SPS, IDR: what a key frame's first packet begins with


def wait_for(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sequence(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")


def gaps(packets: list[bytes]) -> list[int]:
    """Indices of packets that do not follow the one before."""
    numbers = [sequence(packet) for packet in packets]
    return [i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if (b - a) & 0xFFFF != 1]


def begins_key_frame(packet: bytes) -> bool:
    return packet[12] & 31 in KEY_START


class UdpPorts:
    def __init__(self) -> None:
        while True:
            self.rtp = socket.socket(type=socket.SOCK_DGRAM)
            self.rtp.bind(("127.0.0.1", 0))
            self.port = self.rtp.getsockname()[1]
            self.rtcp = socket.socket(type=socket.SOCK_DGRAM)
            try:
                self.rtcp.bind(("127.0.0.1", self.port + 1))
                break
            except OSError:
                self.close()
        self.rtp.settimeout(5)
        self.rtcp.settimeout(5)

    @property
    def transport(self) -> str:
        return f"RTP/AVP;unicast;client_port={self.port}-{self.port + 1}"

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


@pytest.fixture
def ports():
    pair = UdpPorts()
    yield pair
    pair.close()


@pytest.fixture
def ready(serve):
    """A server whose stream can be described."""

    def start(**how):
        serving = serve(**how)
        wait_for(lambda: all(stream.video is not None for stream in serving.streams.values()))
        return serving

    return start


def test_join_costs_no_waiting_for_the_next_natural_key_frame(ready, tools):
    serving = ready()  # the encoder makes one by itself only every 10 s
    time.sleep(0.6)
    waits = []
    for _ in range(4):
        with tools.Client(serving.port) as client:
            client.play()
            start = time.monotonic()
            while client.frame()[0] != 0:
                pass
            waits.append(time.monotonic() - start)
            time.sleep(0.5)
    assert sorted(waits)[1] < 0.12


def test_udp_comes_from_the_ports_named_with_reports_on_the_cameras_clock(ready, tools, ports):
    serving = ready()
    with tools.Client(serving.port) as client:
        answer = client.play(ports.transport)["Transport"]
        server_port = serving.server.udp.port
        assert f"client_port={ports.port}-{ports.port + 1};server_port={server_port}-{server_port + 1}" in answer
        report, source = ports.rtcp.recvfrom(2048)
        assert source[1] == server_port + 1
        packets = []
        for _ in range(20):
            packet, source = ports.rtp.recvfrom(2048)
            assert source[1] == server_port
            packets.append(packet)
        assert begins_key_frame(packets[0]) and gaps(packets) == []
        assert packets[0][4:12] == report[16:20] + report[4:8]  # timestamp and SSRC
        seconds, fraction = struct.unpack(">II", report[8:16])
        assert seconds - 2_208_988_800 + fraction / (1 << 32) == pytest.approx(time.time(), abs=3)


def test_a_silent_udp_session_expires_one_that_reports_does_not(ready, tools, ports):
    serving, other = ready(session_timeout=1.0), UdpPorts()
    with tools.Client(serving.port) as alive, tools.Client(serving.port) as silent:
        alive.play(ports.transport)
        silent.play(other.transport)
        ssrc = int.from_bytes(ports.rtp.recv(2048)[8:12], "big")
        block = struct.pack(">IIIIII", ssrc, 64 << 24, 0, 0, 0, 0)
        report = struct.pack(">BBHI", 0x81, 201, 7, 1) + block
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            ports.rtcp.sendto(report, ("127.0.0.1", serving.server.udp.port + 1))
            other.rtcp.sendto(b"no RTCP", ("127.0.0.1", serving.server.udp.port + 1))
            time.sleep(0.1)
        assert silent.closed(1)
        (left,) = serving.server.clients()
        assert left.transport == "udp" and left.fraction_lost == 0.25
        assert serving.server.counters.expired == 1
        assert alive.ask("GET_PARAMETER").status == 200
        goodbye = b""
        with contextlib.suppress(TimeoutError):
            while goodbye[8:10] != b"\x81\xcb":
                goodbye = other.rtcp.recv(2048)
        assert goodbye[8:10] == b"\x81\xcb"
    other.close()
    wait_for(lambda: serving.server._udp_sessions == {})


class Reader(threading.Thread):
    """An undisturbed client: keeps every packet, and the longest time between two."""

    def __init__(self, client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.packets: list[bytes] = []
        self.longest = 0.0
        self.done = False
        self.start()

    def run(self) -> None:
        last = None
        while not self.done:
            try:
                channel, packet = self.client.frame()
            except (OSError, EOFError):  # the test has failed elsewhere, or missed pictures show in the packets
                return
            now = time.monotonic()
            self.longest = max(self.longest, now - (last or now))
            last = now
            if channel == 0:
                self.packets.append(packet)

    def finish(self) -> list[bytes]:
        self.done = True
        self.join(5)
        return self.packets


class Weight:
    """Stands for an encoder at 16 Mbit/s with a key frame every second: all that counts here is size."""

    number = 0

    def next(self, time_s: float, wall: float) -> AccessUnit:
        key = self.number % 25 == 0
        self.number += 1
        head = b"\0\0\1\x67\x42\xc0\x1e\xab\0\0\1\x68\xce\x3c\x80\0\0\1\x65" if key else b"\0\0\1\x41"
        return AccessUnit(Codec.H264, head + b"x" * 80_000, key, time_s, wall)


@pytest.fixture
def rich(serve):
    """A server of such a stream."""

    def start(**settings):
        stream = Stream("gate")
        serving = serve(paths={"gate": stream}, filmed=False, **settings)
        serving.film(stream, Weight())
        wait_for(lambda: stream.video is not None)
        return serving

    return start


def test_a_slow_client_skips_to_a_key_frame_and_costs_the_others_nothing(rich, tools):
    serving = rich(client_buffer=0.25, stall_timeout=30.0)
    quick, slow = tools.Client(serving.port), tools.Client(serving.port)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    quick.play()
    reader = Reader(quick)
    slow.play()
    wait_for(lambda: sum(each.dropped for each in serving.server.clients()) > 10, 20)
    got: list[bytes] = []
    while len(got) < 20 or not gaps(got) or len(got) - gaps(got)[0] < 50:
        channel, packet = slow.frame()
        if channel == 0:
            got.append(packet)
    jumps = gaps(got)
    assert jumps and all(begins_key_frame(got[index]) for index in jumps)
    assert all(got[index - 1][1] & 0x80 for index in jumps)  # pictures are dropped whole
    undisturbed = reader.finish()
    assert gaps(undisturbed) == [] and reader.longest < 0.5
    quick.socket.close()
    slow.socket.close()


def test_a_stalled_client_is_cut_and_costs_the_others_nothing(rich, tools):
    serving = rich(client_buffer=0.25, stall_timeout=1.0)
    quick, stalled = tools.Client(serving.port), tools.Client(serving.port)
    stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    quick.play()
    reader = Reader(quick)
    stalled.play()
    wait_for(lambda: serving.server.counters.stalled == 1, 20)
    wait_for(lambda: serving.server._open == 1)
    assert serving.server.counters.dropped > 0
    assert gaps(reader.finish()) == [] and reader.longest < 0.5
    quick.socket.close()
    stalled.socket.close()


def test_vanished_clients_cost_the_others_nothing(ready, tools, ports):
    serving = ready()
    quick = tools.Client(serving.port)
    quick.play()
    reader = Reader(quick)
    for index in range(10):
        gone = tools.Client(serving.port)
        gone.play(ports.transport if index % 2 else "RTP/AVP/TCP;unicast;interleaved=0-1")
        gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with RST
        gone.socket.close()
    wait_for(lambda: serving.server._open == 1)
    assert len(serving.server.clients()) == 1
    broadcast = serving.server.mounts["gate"].broadcast
    assert broadcast.players == 1
    assert gaps(reader.finish()) == []
    quick.socket.close()
    wait_for(lambda: broadcast.players == 0)


def test_many_clients_get_every_packet_of_one_packing(ready, tools):
    serving = ready()
    clients = [tools.Client(serving.port) for _ in range(40)]
    for client in clients:
        client.play()
    packets: list[list[bytes]] = [[] for _ in clients]
    by_socket = {client.socket: (client, mine) for client, mine in zip(clients, packets, strict=True)}
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        for readable in select.select(list(by_socket), [], [], 0.1)[0]:
            client, mine = by_socket[readable]
            mine += [packet for channel, packet in [client.frame()] if channel == 0]
            while client.buffer[:1] == b"$" and len(client.buffer) >= 4 + int.from_bytes(client.buffer[2:4], "big"):
                mine += [packet for channel, packet in [client.frame()] if channel == 0]
    assert all(begins_key_frame(mine[0]) and gaps(mine) == [] for mine in packets)
    sent = [each.sent for each in serving.server.clients()]
    assert len(sent) == 40 and min(sent) >= 25
    common = {sequence(packet): packet for packet in packets[0]}
    for mine in packets[1:]:
        assert all(common.get(sequence(packet), packet) == packet for packet in mine)
    for client in clients:
        client.socket.close()
