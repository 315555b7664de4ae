"""Packs a stream's access units into RTP once and hands the packets to all who play it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from anonymizer.access_unit import AccessUnit, VideoParameters
from anonymizer.publish import rtcp
from anonymizer.publish.message import interleave
from anonymizer.publish.rtp import Packer, Timeline
from anonymizer.publish.sdp import PayloadType, audio_payload, video_payload
from anonymizer.publish.stream import Stream

VIDEO, AUDIO = 0, 1
"""Track numbers, as in the session description."""


class Packed:
    """The RTP packets of one access unit. report: the sender report that goes before them, or b''. size: bytes."""

    __slots__ = ("_framed", "key", "packets", "report", "size")

    def __init__(self, packets: list[bytes], report: bytes, key: bool) -> None:
        self.packets = packets
        self.report = report
        self.key = key
        self.size = sum(map(len, packets)) + len(report)
        self._framed: dict[tuple[int, int], bytes] = {}

    def framed(self, rtp: int, rtcp: int) -> bytes:
        """All of it as interleaved frames on two channels; made once for all clients with the same channels."""
        found = self._framed.get((rtp, rtcp))
        if found is None:
            parts = [interleave(rtp, packet) for packet in self.packets]
            found = b"".join([interleave(rtcp, self.report), *parts] if self.report else parts)
            self._framed[rtp, rtcp] = found
        return found


class Player(Protocol):
    """A client that plays. Both calls return at once; a slow client bounds and drops what waits for it."""

    def deliver(self, track: int, packed: Packed) -> None: ...

    def end(self) -> None:
        """The stream has ended or changed its codec."""


class Track:
    """RTP state of one track. It outlives the camera's restarts: SSRC, numbering and timestamps go on."""

    REPORT_INTERVAL = 5.0

    def __init__(self, payload: PayloadType, size: int, cname: str, channels: int = 1) -> None:
        self.packer = Packer(payload.number, secrets.randbits(32), secrets.randbits(16), size, channels)
        self.timeline = Timeline(payload.rate, secrets.randbits(31))
        self.report_due = float("-inf")
        self._cname = cname

    def pack(self, unit: AccessUnit, now: float) -> Packed:
        timestamp = self.timeline.at(unit.time, now)
        report = b""
        if now >= self.report_due:
            self.report_due = now + self.REPORT_INTERVAL
            packer = self.packer
            report = rtcp.sender_report(
                packer.ssrc, unit.wall, timestamp, packets=packer.packets, octets=packer.octets, cname=self._cname
            )
        return Packed(self.packer.pack(unit, timestamp), report, unit.key)

    def bye(self) -> bytes:
        return rtcp.bye(self.packer.ssrc)


class Broadcast:
    """The RTSP side of one stream. While nobody plays it packs nothing.

    size: largest RTP packet in bytes. clock: seconds, never running back.
    """

    def __init__(self, stream: Stream, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.tracks: dict[int, Track] = {}
        self._format: VideoParameters | None = None
        self._size = size
        self._clock = clock
        self._cname = secrets.token_hex(8)
        self._players: list[Player] = []

    @property
    def players(self) -> int:
        return len(self._players)

    def ready(self) -> VideoParameters | None:
        """The video format once it is known, with the tracks ready to be set up; else None."""
        video, audio = self.stream.video, self.stream.audio
        if video is None:
            return None
        if self._format is None or self._format.codec is not video.codec:
            self.tracks[VIDEO] = Track(video_payload(video), self._size, self._cname)
            if audio is not None and AUDIO not in self.tracks:
                self.tracks[AUDIO] = Track(audio_payload(audio), self._size, self._cname, audio.channels)
        self._format = video
        return video

    def join(self, player: Player) -> None:
        """The player gets what comes from now on; a key frame is asked for."""
        self._players.append(player)
        self.stream.subscribe(self)
        self.stream.want_key()

    def leave(self, player: Player) -> None:
        if player in self._players:
            self._players.remove(player)
        if not self._players:
            self.stream.unsubscribe(self)

    def take(self, unit: AccessUnit) -> None:
        known = self._format
        if unit.codec.is_video and known is not None and unit.codec is not known.codec:
            self.end()  # the description that the players hold is wrong now: they must ask for it again
            return
        track = self.tracks.get(VIDEO if unit.codec.is_video else AUDIO)
        if track is None:
            return
        now = self._clock()
        if unit.key and unit.codec.is_video:
            for each in self.tracks.values():  # whoever joins at this picture can place it in time
                each.report_due = now
        packed = track.pack(unit, now)
        number = VIDEO if unit.codec.is_video else AUDIO
        for player in tuple(self._players):
            player.deliver(number, packed)

    def end(self) -> None:
        """Ends every player."""
        for player in tuple(self._players):
            player.end()
