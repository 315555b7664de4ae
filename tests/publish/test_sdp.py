from __future__ import annotations

from base64 import b64decode

import pytest

from anonymizer.access_unit import AudioParameters, Codec, VideoParameters, parameter_sets, split
from anonymizer.publish import sdp

SPS, PPS = b"\x67\x42\xc0\x1e\xab", b"\x68\xce\x3c\x80"


def lines(text: bytes) -> list[str]:
    assert text.endswith(b"\r\n")
    return text.decode().split("\r\n")[:-1]


def test_h264():
    text = lines(sdp.describe("gate", "192.0.2.7", VideoParameters(Codec.H264, (SPS, PPS)), None))
    assert text[:7] == [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.7",
        "s=gate",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
    ]
    assert text[7:] == [
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1; profile-level-id=42C01E; sprop-parameter-sets=Z0LAHqs=,aM48gA==",
        "a=control:trackID=0",
    ]


def test_h265_of_an_encoder(tools):
    sets = parameter_sets(Codec.H265, split(tools.Encoder(Codec.H265).next(0, 0).data))
    text = lines(sdp.describe("gate", "::1", VideoParameters(Codec.H265, sets), None))
    assert "o=- 1 1 IN IP6 ::1" in text and "c=IN IP6 ::" in text
    fmtp = next(line for line in text if line.startswith("a=fmtp:98 ")).removeprefix("a=fmtp:98 ")
    given = dict(item.split("=", 1) for item in fmtp.split("; "))
    assert [b64decode(given[f"sprop-{kind}"]) for kind in ("vps", "sps", "pps")] == list(sets)


@pytest.mark.parametrize(
    ("audio", "media", "rtpmap"),
    [
        (AudioParameters(Codec.PCMU, 8000), "m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"),
        (AudioParameters(Codec.PCMA, 8000), "m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000"),
        (AudioParameters(Codec.PCMA, 16000, 2), "m=audio 0 RTP/AVP 97", "a=rtpmap:97 PCMA/16000/2"),
        (AudioParameters(Codec.AAC, 8000, 1, b"\x15\x88"), "m=audio 0 RTP/AVP 97", "a=rtpmap:97 mpeg4-generic/8000/1"),
    ],
)
def test_audio(audio, media, rtpmap):
    text = lines(sdp.describe("gate", "127.0.0.1", VideoParameters(Codec.H264, (SPS, PPS)), audio))
    assert media in text and rtpmap in text and text[-1] == "a=control:trackID=1"
    assert any("config=1588" in line for line in text) == (audio.codec is Codec.AAC)
