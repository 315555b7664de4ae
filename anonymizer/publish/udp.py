"""The pair of UDP ports, RTP and RTCP, that all clients share."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from anonymizer.errors import PublishError

Address = tuple[Any, ...]
"""A socket address: host and port, for IPv6 flow and scope too."""

_READS = 64  # datagrams a wake-up, so that a flood of them does not hold up the media

# A key frame of a large picture is more than a receiver's socket holds (about 180 packets by default on Linux), so it
# leaves in bursts: at most 90 Mbit/s to each client.
BURST = 16
"""Packets to one client at a time."""
BURST_INTERVAL = 0.002
"""Seconds between two bursts."""
QUEUE = 2048
"""Most packets that wait for one client."""


class UdpPair:
    """heard: called with each RTCP packet and the address that it came from. Raises PublishError where no pair is free.

    Sending never waits, and says no where it would fall behind.
    """

    def __init__(self, family: int, host: str, port: int, heard: Callable[[bytes, Address], None]) -> None:
        self._heard = heard
        self._rtp, self._rtcp = _bind(family, host, port)
        self.port: int = self._rtp.getsockname()[1]
        self._waiting: dict[Address, deque[bytes]] = {}
        self._timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        # Clients punch holes into firewalls through the RTP port: its packets are read and forgotten.
        loop.add_reader(self._rtp, self._read, self._rtp, False)
        loop.add_reader(self._rtcp, self._read, self._rtcp, True)

    def send_rtp(self, packets: list[bytes], to: Address) -> bool:
        """Whether all of them were taken. Packets to one address leave in their order."""
        waiting = self._waiting.get(to)
        if waiting is None:
            waiting = deque(packets)
            self._burst(waiting, to)
            if waiting:
                self._waiting[to] = waiting
                self._schedule()
            return True
        if len(waiting) + len(packets) > QUEUE:
            return False
        waiting.extend(packets)
        return True

    def _burst(self, waiting: deque[bytes], to: Address) -> None:
        send = self._rtp.sendto
        for _ in range(min(BURST, len(waiting))):
            try:
                send(waiting[0], to)
            except BlockingIOError:
                return
            except OSError:  # no way to the client at the moment: lost, as on the way
                pass
            waiting.popleft()

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BURST_INTERVAL, self._next)

    def _next(self) -> None:
        self._timer = None
        for to, waiting in tuple(self._waiting.items()):
            self._burst(waiting, to)
            if not waiting:
                del self._waiting[to]
        if self._waiting:
            self._schedule()

    def send_rtcp(self, packet: bytes, to: Address) -> None:
        with contextlib.suppress(OSError):
            self._rtcp.sendto(packet, to)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        for each in (self._rtp, self._rtcp):
            loop.remove_reader(each)
            each.close()

    def _read(self, source: socket.socket, is_rtcp: bool) -> None:
        for _ in range(_READS):
            try:
                data, address = source.recvfrom(2048)
            except OSError:
                return
            if is_rtcp:
                self._heard(data, address)


def _bind(family: int, host: str, port: int) -> tuple[socket.socket, socket.socket]:
    problem: OSError | None = None
    for _ in range(1 if port else 50):
        with contextlib.ExitStack() as undo:
            try:
                first = undo.enter_context(_socket(family))
                first.bind((host, port))
                number = first.getsockname()[1]
                if number % 2:
                    continue
                second = undo.enter_context(_socket(family))
                second.bind((host, number + 1))
            except OSError as error:
                problem = error
                continue
            undo.pop_all()
            return first, second
    raise PublishError(f"rtsp: no pair of UDP ports at {host}:{port}: {problem}; set another udp_port, or udp: false")


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # Each burst goes to every client.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return made
