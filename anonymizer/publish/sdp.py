"""The session description (RFC 4566) that DESCRIBE answers with. No I/O."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple

from anonymizer.access_unit import AudioParameters, Codec, VideoParameters, nal_type

CONTENT_TYPE = "application/sdp"
CONTROL = "trackID="


class PayloadType(NamedTuple):
    number: int
    rate: int
    """Ticks of the RTP clock a second."""


def video_payload(video: VideoParameters) -> PayloadType:
    return PayloadType(96 if video.codec is Codec.H264 else 98, 90_000)


def audio_payload(audio: AudioParameters) -> PayloadType:
    """Static numbers for G.711 at 8 kHz mono (RFC 3551), a dynamic one for everything else."""
    static = {Codec.PCMU: 0, Codec.PCMA: 8}
    if audio.codec in static and (audio.rate, audio.channels) == (8000, 1):
        return PayloadType(static[audio.codec], 8000)
    return PayloadType(97, audio.rate)


def describe(name: str, address: str, video: VideoParameters, audio: AudioParameters | None) -> bytes:
    """The description of one stream; video is track 0, audio track 1. address: the server's, as the client sees it."""
    family = "IP6" if ":" in address else "IP4"
    anywhere = "::" if family == "IP6" else "0.0.0.0"
    lines = [
        "v=0",
        f"o=- 1 1 IN {family} {address}",
        f"s={name}",
        f"c=IN {family} {anywhere}",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        *_video(video),
    ]
    if audio is not None:
        lines += _audio(audio)
    return "".join(line + "\r\n" for line in lines).encode()


def _video(video: VideoParameters) -> list[str]:
    number, rate = video_payload(video)
    if video.codec is Codec.H264:
        name = "H264"
        sps = next(nal for nal in video.sets if nal_type(video.codec, nal) == 7)
        parameters = [
            "packetization-mode=1",
            f"profile-level-id={sps[1:4].hex().upper()}",
            "sprop-parameter-sets=" + ",".join(map(_base64, video.sets)),
        ]
    else:
        name = "H265"
        parameters = [
            f"sprop-{kind}=" + ",".join(_base64(nal) for nal in video.sets if nal_type(video.codec, nal) == wanted)
            for kind, wanted in (("vps", 32), ("sps", 33), ("pps", 34))
        ]
    return [
        f"m=video 0 RTP/AVP {number}",
        f"a=rtpmap:{number} {name}/{rate}",
        f"a=fmtp:{number} " + "; ".join(parameters),
        f"a=control:{CONTROL}0",
    ]


def _audio(audio: AudioParameters) -> list[str]:
    number, rate = audio_payload(audio)
    channels = f"/{audio.channels}" if audio.channels > 1 or audio.codec is Codec.AAC else ""
    name = "mpeg4-generic" if audio.codec is Codec.AAC else audio.codec.upper()
    lines = [f"m=audio 0 RTP/AVP {number}", f"a=rtpmap:{number} {name}/{rate}{channels}"]
    if audio.codec is Codec.AAC:
        lines.append(
            f"a=fmtp:{number} streamtype=5; profile-level-id=1; mode=AAC-hbr; sizelength=13; indexlength=3; "
            f"indexdeltalength=3; config={audio.config.hex().upper()}"
        )
    return [*lines, f"a=control:{CONTROL}1"]


def _base64(nal: bytes) -> str:
    return b64encode(nal).decode()
