"""A client's session: where its media goes, and what happens when it cannot keep up."""

from __future__ import annotations

import asyncio
import secrets
from typing import Protocol

from anonymizer.publish import rtcp
from anonymizer.publish.broadcast import VIDEO, Broadcast, Packed
from anonymizer.publish.udp import Address, UdpPair


class Link(Protocol):
    """The way of the media to one client. None of the calls waits."""

    name: str

    def room(self, size: int, resuming: bool) -> bool:
        """Whether ``size`` bytes more may wait for the client; resuming: after it had fallen behind."""

    def send(self, track: int, packed: Packed) -> bool:
        """Whether all of it was taken."""

    def send_rtcp(self, track: int, packet: bytes) -> None: ...


class Outlet:
    """What a connection writes to. Its buffer is the client's queue; it also tells whether the client takes anything.

    progress_at: when the client last took something, or had nothing to take; seconds on the server's clock.
    """

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport = transport
        self._written = self._taken = 0
        self.progress_at = now

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    @property
    def waiting(self) -> int:
        """Bytes not yet handed to the system."""
        return self._transport.get_write_buffer_size()

    def stalled_for(self, now: float) -> float:
        """Seconds without progress, as seen at the calls of this method."""
        waiting = self.waiting
        taken = self._written - waiting
        if waiting == 0 or taken > self._taken:  # under TLS more bytes wait than were written, never fewer
            self.progress_at = now
            self._taken = max(taken, self._taken)
        return now - self.progress_at


class TcpLink:
    """Interleaved in the RTSP connection. limit: bytes that may wait for the client."""

    name = "tcp"

    def __init__(self, outlet: Outlet, limit: int) -> None:
        self._outlet = outlet
        self._limit = limit
        self._channels: dict[int, tuple[int, int]] = {}

    def assign(self, track: int, first: int | None, second: int | None) -> tuple[int, int] | None:
        """Gives a track its two channels, free ones where none are named; None where they are in use."""
        taken = {channel for other, pair in self._channels.items() if other != track for channel in pair}
        if first is None or second is None:
            first = next(channel for channel in range(0, 256, 2) if not {channel, channel + 1} & taken)
            second = first + 1
        if {first, second} & taken:
            return None
        self._channels[track] = (first, second)
        return first, second

    def carries_rtcp(self, channel: int) -> bool:
        return any(channel == second for _, second in self._channels.values())

    def room(self, size: int, resuming: bool) -> bool:
        waiting = self._outlet.waiting
        return waiting == 0 or waiting + size <= (self._limit // 2 if resuming else self._limit)

    def send(self, track: int, packed: Packed) -> bool:
        self._outlet.write(packed.framed(*self._channels[track]))
        return True

    def send_rtcp(self, track: int, packet: bytes) -> None:
        self._outlet.write(Packed([], packet, False).framed(*self._channels[track]))


class UdpLink:
    """Datagrams from the ports that all clients share to those that the client named."""

    name = "udp"

    def __init__(self, pair: UdpPair) -> None:
        self._pair = pair
        self.addresses: dict[int, tuple[Address, Address]] = {}
        """By track: where RTP and where RTCP goes."""

    def room(self, size: int, resuming: bool) -> bool:
        return True

    def send(self, track: int, packed: Packed) -> bool:
        rtp, control = self.addresses[track]
        if packed.report:
            self._pair.send_rtcp(packed.report, control)
        return self._pair.send_rtp(packed.packets, rtp)

    def send_rtcp(self, track: int, packet: bytes) -> None:
        self._pair.send_rtcp(packet, self.addresses[track][1])


class Session:
    """States: set up, playing, ended. now: seconds on the server's clock."""

    def __init__(self, path: str, user: str, broadcast: Broadcast, link: TcpLink | UdpLink, now: float) -> None:
        self.id = secrets.token_hex(8)
        self.path = path
        self.user = user
        self.broadcast = broadcast
        self.link = link
        self.tracks: set[int] = set()
        self.playing = False
        self.played = False
        """Whether it has ever played."""
        self.ended = False
        self.alive_at = now
        self.sent = 0
        """Access units sent."""
        self.dropped = 0
        """Access units that a slow client lost."""
        self.fraction_lost = 0.0
        """Packets lost on the way, 0–1, as the client last reported."""
        self._waiting = True
        self._behind = False

    def play(self) -> None:
        if not self.playing:
            self.playing = self.played = True
            self._waiting = VIDEO in self.tracks
            self._behind = False
            self.broadcast.join(self)

    def pause(self) -> None:
        if self.playing:
            self.playing = False
            self.broadcast.leave(self)

    def end(self) -> None:
        """The server's end of it: says goodbye, if the client was playing; it gets no more media."""
        if self.playing:
            for number in self.tracks:
                self.link.send_rtcp(number, self.broadcast.tracks[number].bye())
        self.pause()
        self.ended = True

    def deliver(self, track: int, packed: Packed) -> None:
        """Video starts at a key frame, and again at one after the client had fallen behind; audio goes with it."""
        if track not in self.tracks:
            return
        if self._waiting and not (track == VIDEO and packed.key):
            self.dropped += self._behind
            return
        if not self.link.room(packed.size, resuming=self._behind) or not self.link.send(track, packed):
            self._waiting = self._behind = True
            self.dropped += 1
            return
        self._waiting = self._behind = False
        self.sent += 1

    def heard(self, data: bytes, now: float) -> None:
        """An RTCP packet of the client: a sign of life. Raises ValueError where it is none."""
        reports = rtcp.parse(data)
        self.alive_at = now
        ssrcs = {self.broadcast.tracks[number].packer.ssrc for number in self.tracks}
        for report in reports:
            if report.ssrc in ssrcs:
                self.fraction_lost = report.fraction_lost
