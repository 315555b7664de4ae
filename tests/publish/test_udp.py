from __future__ import annotations

import asyncio
import socket

from anonymizer.publish.udp import BURST, QUEUE, UdpPair


def received(sink: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sink.recv(2048))
        except BlockingIOError:
            return found


def numbered(start: int, count: int) -> list[bytes]:
    return [index.to_bytes(2, "big") for index in range(start, start + count)]


def test_a_large_picture_leaves_in_bursts_and_nothing_overtakes_it():
    async def run() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.setblocking(False)
            pair = UdpPair(socket.AF_INET, "127.0.0.1", 0, lambda data, address: None)
            assert pair.port % 2 == 0
            assert pair.send_rtp(numbered(0, 5 * BURST), sink.getsockname())
            assert received(sink) == numbered(0, BURST)
            assert pair.send_rtp(numbered(5 * BURST, 1), sink.getsockname())
            found: list[bytes] = []
            while len(found) < 4 * BURST + 1:
                await asyncio.sleep(0.001)
                found += received(sink)
            assert found == numbered(BURST, 4 * BURST + 1)
            assert pair.send_rtp(numbered(0, 1), sink.getsockname())
            assert received(sink) == numbered(0, 1)
            pair.close()

    asyncio.run(run())


def test_what_waits_for_one_client_is_bounded():
    async def run() -> None:
        pair = UdpPair(socket.AF_INET, "127.0.0.1", 0, lambda data, address: None)
        taken = [pair.send_rtp(numbered(0, 500), ("127.0.0.1", 9)) for _ in range(8)]
        assert taken == [True] * (QUEUE // 500) + [False] * (8 - QUEUE // 500)
        assert pair.send_rtp(numbered(0, 500), ("127.0.0.1", 11))
        pair.close()

    asyncio.run(run())
