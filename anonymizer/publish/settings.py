"""Settings of the RTSP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anonymizer.publish.listening import ListeningSettings
from anonymizer.settings import Wrong, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class RtspSettings(ListeningSettings):
    """The RTSP server, from which recorders and players take the anonymised streams."""

    port: int = setting(
        "Port", default=8554, minimum=0, maximum=65535, description="TCP port of RTSP without TLS; 0 takes a free one."
    )
    udp: bool = setting(
        "UDP", default=True, description="Let clients take the media over UDP, which is never encrypted."
    )
    udp_port: int = setting(
        "UDP port",
        default=8000,
        minimum=0,
        maximum=65534,
        description="Even UDP port for RTP; the next one carries RTCP. 0 takes a free pair.",
    )
    tls: Literal["off", "optional", "required"] = setting(
        "TLS",
        default="off",
        description="'optional' serves RTSPS beside RTSP, 'required' serves RTSPS only, with the media over TCP only.",
    )
    tls_port: int = setting(
        "TLS port", default=8322, minimum=0, maximum=65535, description="TCP port of RTSPS; 0 takes a free one."
    )
    connections: int = setting(
        "Connections", default=200, minimum=1, maximum=10_000, description="Open at a time; more are refused."
    )
    session_timeout: float = setting(
        "Session timeout",
        default=60.0,
        unit="s",
        minimum=1,
        description="After so long without a sign of life a session ends and its connection closes.",
    )
    login_timeout: float = setting(
        "Login timeout",
        default=10.0,
        unit="s",
        minimum=0.5,
        description="After so long a connection that has not logged in is closed.",
    )
    guesses: int = setting(
        "Guesses", default=10, minimum=1, maximum=1000, description="Wrong passwords before an address must wait."
    )
    guess_window: float = setting(
        "Guess window",
        default=60.0,
        unit="s",
        minimum=1,
        description="The time in which wrong passwords are counted, and for which the address then waits.",
    )
    client_buffer: float = setting(
        "Client buffer",
        default=2.0,
        unit="MiB",
        minimum=0.0625,
        maximum=64,
        description="Media that may wait for a slow TCP client; beyond it the client skips to the next key frame.",
    )
    stall_timeout: float = setting(
        "Stall timeout",
        default=10.0,
        unit="s",
        minimum=0.5,
        description="A TCP client that takes nothing for so long is cut off.",
    )
    head_limit: int = setting(
        "Header limit",
        default=8192,
        unit="bytes",
        minimum=256,
        maximum=65536,
        description="Largest request line and headers of one request.",
    )
    packet_size: int = setting(
        "Packet size",
        default=1400,
        unit="bytes",
        minimum=128,
        maximum=65000,
        description="Largest RTP packet; the network's MTU less 28 for IPv4, less 48 for IPv6.",
    )

    def __post_init__(self) -> None:
        if self.udp_port % 2:
            raise Wrong(f"RTP takes an even port; {self.udp_port - 1} and {self.udp_port} are a pair", "udp_port")
        if self.tls != "off" and (not (self.certificate and self.private_key)):
            raise Wrong(f"tls: {self.tls} needs certificate and private_key too", "tls")
