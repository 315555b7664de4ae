"""Mutated requests and interleaved frames against a running server, seeded; another client watches all the while."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

BATCH = 8
"""Messages sent over one connection; the server reads up to the first that is no RTSP at all."""
TOGETHER = 24
"""Connections at a time."""

RECEIVER_REPORT = b"$\x01\x00\x20" + struct.pack(">BBHIIIIIII", 0x81, 201, 7, 1, 2, 0, 0, 0, 0, 0)

REQUESTS = [
    "OPTIONS {base} RTSP/1.0\r\nCSeq: 1\r\nSession: {session}\r\n\r\n",
    "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "DESCRIBE {base} RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\nAuthorization: {login}\r\n\r\n",
    "SETUP {base}/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    "SETUP {base}/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=65534-65535\r\n\r\n",
    "PLAY {base} RTSP/1.0\r\nCSeq: 4\r\nSession: {session}\r\nRange: npt=0.000-\r\n\r\n",
    "PAUSE {base} RTSP/1.0\r\nCSeq: 5\r\nSession: {session}\r\n\r\n",
    "GET_PARAMETER {base} RTSP/1.0\r\nCSeq: 6\r\nSession: {session}\r\n\r\n",
    "SET_PARAMETER {base} RTSP/1.0\r\nCSeq: 7\r\nSession: {session}\r\nContent-Length: 12\r\n\r\nbarparam: 1\n",
    "TEARDOWN {base} RTSP/1.0\r\nCSeq: 8\r\nSession: {session}\r\n\r\n",
    "DESCRIBE {base} RTSP/1.0\r\nCSeq: 9\r\nAuthorization: Basic dmlld2VyOng=\r\nRequire: x\r\n\r\n",
]
VALUES = [b"0", b"-1", b"255", b"256", b"65535", b"65536", b"4294967296", b"9" * 40, b"\xc3\xa9", b"%00", b"%s", b'"']
BREAKS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b":", b";", b",", b"$", b" ", b"=", b"\xff", b"/../", b"trackID="]


def mutate(message: bytes, chance: random.Random) -> bytes:
    data = bytearray(message)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 8, 40)))
        kind = chance.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:to]
        elif kind == 2:
            data[at:at] = data[at:to] * chance.choice((1, 2, 50))
        elif kind == 3:
            data[at:at] = chance.choice(BREAKS)
        elif kind == 4:
            data[at:to] = chance.choice(VALUES)
        elif kind == 5:
            data[at:at] = chance.randbytes(chance.choice((1, 4, 200)))
        else:
            del data[at:]
    return bytes(data)


class Watcher(threading.Thread):
    """A client that must not notice: counts packets, and those missing or late."""

    def __init__(self, client) -> None:
        super().__init__(daemon=True)
        self.client, self.packets, self.missing, self.longest, self.done = client, 0, 0, 0.0, False
        self.start()

    def run(self) -> None:
        expected, last = None, None
        while not self.done:
            try:
                channel, packet = self.client.frame()
            except OSError:  # what is missing shows in the count
                return
            if channel == 0:
                number, now = int.from_bytes(packet[2:4], "big"), time.monotonic()
                self.missing += (number - (number if expected is None else expected)) & 0xFFFF
                self.longest = max(self.longest, now - (last or now))
                expected, last = (number + 1) & 0xFFFF, now
                self.packets += 1


def resident() -> int:
    """MiB of this process, without what the allocator only keeps in reserve."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def attack(serving, tools, count: int, chance: random.Random) -> None:
    """Mutated messages until the server has read ``count`` of them; each connection is answered or closed in 10 s."""
    counters = serving.server.counters
    start, honest = counters.requests + counters.protocol_errors, 0
    while counters.requests + counters.protocol_errors - start - honest < count:
        clients = [tools.Client(serving.port) for _ in range(TOGETHER)]
        if serving.server.settings.auth == "none":
            for client in clients[::3]:
                setup = client.ask("SETUP", f"{client.base}/trackID=0", {"Transport": "RTP/AVP/TCP;unicast"})
                client.session = setup["Session"].partition(";")[0]
                honest += 1
        for client in clients:
            login = client.authorization("DESCRIBE", client.base)
            valid = [each.format(base=client.base, session=client.session, login=login).encode() for each in REQUESTS]
            valid += [RECEIVER_REPORT] * 4
            with suppress(ConnectionError):  # closed with bytes of ours unread
                client.socket.sendall(b"".join(mutate(chance.choice(valid), chance) for _ in range(BATCH)))
                client.socket.shutdown(socket.SHUT_WR)
        for client in clients:
            with suppress(ConnectionError):
                while client.socket.recv(1 << 16):
                    pass
            client.socket.close()


def fuzz(serve, tools, caplog, count: int, seed: int) -> None:
    chance = random.Random(seed)
    opened = serve(auth="none", users=())
    locked = serve(guesses=5, guess_window=1.0)
    unhandled = []
    for serving in (opened, locked):
        serving.do(lambda loop=serving.loop: loop.set_exception_handler(lambda _, context: unhandled.append(context)))
        while serving.streams["gate"].video is None:
            time.sleep(0.01)
    clients = [tools.Client(serving.port) for serving in (opened, locked)]
    for client in clients:
        client.play()
    watchers, start = [Watcher(client) for client in clients], time.monotonic()

    def burst(messages: int) -> None:
        attack(opened, tools, messages * 4 // 5, chance)
        attack(locked, tools, messages // 5, chance)

    def settle() -> int:
        deadline = time.monotonic() + 10
        for serving in (opened, locked):
            serving.events.clear()  # the test's own, not the server's
            while serving.server._open > 1:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return len(os.listdir("/proc/self/fd"))

    burst(count // 5)
    descriptors, before = settle(), resident()
    burst(count - count // 5)
    assert settle() <= descriptors
    assert resident() - before <= 3
    expected = 15 * (time.monotonic() - start)  # of 25 pictures a second
    for watcher in watchers:
        watcher.done = True
        watcher.join(5)
        assert watcher.packets > expected and watcher.missing == 0 and watcher.longest < 1.5
    for serving in (opened, locked):
        assert len(serving.server._connections) == len(serving.server.clients()) == 1
        assert serving.server.mounts["gate"].broadcast.players == 1
        assert serving.server._udp_sessions == {}
    counters = opened.server.counters
    assert counters.requests > count / 5 and counters.protocol_errors > count / 5
    assert locked.server.counters.wrong_passwords > 0 and locked.server.counters.blocked > 0
    assert unhandled == []
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    for client in clients:
        client.socket.close()


def test_ten_thousand_mutated_messages(serve, tools, caplog):
    fuzz(serve, tools, caplog, 10_000, seed=1)


@pytest.mark.soak
def test_a_hundred_thousand_mutated_messages(serve, tools, caplog):
    fuzz(serve, tools, caplog, 100_000, seed=2)
