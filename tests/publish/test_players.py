"""Real players pull live streams, all at once; each picture carries its number, so that a lost or broken one shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor

import av
import numpy as np
import pytest

from anonymizer.access_unit import AccessUnit, AudioParameters, Codec
from anonymizer.publish import RtspSettings, Stream
from tests.gstreamer import without_interrupted_pause

PICTURES = 50


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)


def ffmpeg(url: str, transport: str, *options: str) -> list[str]:
    options = options or ("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p")
    head = ["ffmpeg", "-v", "error", "-threads", "1", "-rtsp_transport", transport, "-i", url]
    return [*head, "-frames:v", str(PICTURES), *options, "-"]


def gstreamer(url: str, transport: str) -> list[str]:
    source = ["rtspsrc", f"location={url}", f"protocols={transport}", "latency=200", "tls-validation-flags=0"]
    login = ["user-id=viewer", "user-pw=a pass: word"]
    decode = ["rtph264depay", "!", "h264parse", "!", "avdec_h264", "max-threads=1"]
    stop = ["identity", f"eos-after={PICTURES + 1}", "!", "fdsink", "fd=1"]
    return ["gst-launch-1.0", "-q", *source, *login, "!", *decode, "!", *stop]


def pyav(url: str, transport: str) -> list[str]:
    script = f"""
        import av, sys
        av.logging.set_level(av.logging.ERROR)
        with av.open({url!r}, options={{"rtsp_transport": {transport!r}}}, timeout=(10, 10)) as container:
            pictures = container.decode(video=0)
            for _ in range({PICTURES}):
                sys.stdout.buffer.write(next(pictures).to_ndarray(format="yuv420p").tobytes())
    """
    return [sys.executable, "-c", textwrap.dedent(script)]


def opencv(url: str) -> list[str]:
    """In a process of its own: its FFmpeg must not meet PyAV's."""
    script = f"""
        import cv2, sys
        cv2.setNumThreads(1)
        capture = cv2.VideoCapture({url!r}, cv2.CAP_FFMPEG)
        for _ in range({PICTURES}):
            ok, picture = capture.read()
            assert ok
            sys.stdout.buffer.write(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes())
    """
    return [sys.executable, "-c", textwrap.dedent(script)]


def film_with_audio(serving, stream: Stream, encoder, codec: Codec) -> None:
    """A second publisher would need its own clock: sound is made beside each picture, 40 ms at a time."""
    sound = av.CodecContext.create("aac" if codec is Codec.AAC else "pcm_mulaw", "w")
    sound.sample_rate, sound.layout = 8000, "mono"
    sound.format = "fltp" if codec is Codec.AAC else "s16"
    sound.open()
    stream.audio = AudioParameters(codec, 8000, 1, bytes(sound.extradata or b""))
    tone = 0.2 * np.sin(np.arange(0, 8000 * 600) * 2 * np.pi * 440 / 8000)
    state = {"sample": 0, "time": 0.0}

    class Sounding:
        def next(self, time_s: float, wall: float) -> AccessUnit:
            block = 1024 if codec is Codec.AAC else 320
            while state["sample"] / 8000 <= encoder.number / 25:
                piece = tone[state["sample"] :][:block][None]
                values = piece.astype(np.float32) if codec is Codec.AAC else (piece * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(values, format=sound.format.name, layout="mono")
                frame.sample_rate, frame.pts = 8000, state["sample"]
                for packet in sound.encode(frame):
                    stream.publish(AccessUnit(codec, bytes(packet), True, 1000 + state["time"], wall))
                    state["time"] += block / 8000
                state["sample"] += block
            return encoder.next(time_s, wall)

    serving.film(stream, Sounding())


@pytest.fixture(scope="module")
def pulls(tools, certificate) -> dict[str, Future[subprocess.CompletedProcess[bytes]]]:
    """What each player gave back, by name; they run side by side against one server."""
    encoders = {
        "gate": tools.Encoder(gop=50),
        "gate/sub": tools.Encoder(Codec.H265, gop=25),
        "aac": tools.Encoder(gop=25),
        "pcmu": tools.Encoder(gop=25),
    }
    streams = {path: Stream(path, request_key=encoder.request_key) for path, encoder in encoders.items()}
    cert, key = certificate
    settings = RtspSettings(
        host="127.0.0.1", port=0, udp_port=0, tls="optional", tls_port=0, certificate=cert, private_key=key
    )
    serving = tools.Serving(settings, streams, tools.users)
    for path in ("gate", "gate/sub"):
        serving.film(streams[path], encoders[path])
    film_with_audio(serving, streams["aac"], encoders["aac"], Codec.AAC)
    film_with_audio(serving, streams["pcmu"], encoders["pcmu"], Codec.PCMU)
    plain, secret = serving.url(), serving.url(tls=True)
    sound = ("-map", "0:a", "-frames:a", "1000", "-t", "3", "-f", "s16le")
    commands: dict[str, list[str]] = {
        "ffmpeg tcp": ffmpeg(plain, "tcp"),
        "ffmpeg udp": ffmpeg(plain, "udp"),
        "ffmpeg tls": ffmpeg(secret, "tcp"),
        "ffmpeg h265 tcp": ffmpeg(serving.url("gate/sub"), "tcp"),
        "ffmpeg h265 udp": ffmpeg(serving.url("gate/sub"), "udp"),
        "ffmpeg aac": ffmpeg(serving.url("aac"), "tcp", *sound),
        "ffmpeg pcmu": ffmpeg(serving.url("pcmu"), "udp", *sound),
        "gst tcp": gstreamer(serving.url(login=""), "tcp"),
        "gst udp": gstreamer(serving.url(login=""), "udp"),
        "gst tls": gstreamer(serving.url(login="", tls=True), "tcp"),
        "pyav tcp": pyav(plain, "tcp"),
        "pyav udp": pyav(plain, "udp"),
        "opencv tcp": opencv(plain),
        "opencv udp": opencv(plain),
    }
    with ThreadPoolExecutor(5) as pool:
        futures = {
            name: pool.submit(run, command, OPENCV_FFMPEG_CAPTURE_OPTIONS=f"rtsp_transport;{name[-3:]}")
            for name, command in commands.items()
            if shutil.which(command[0])
        }
        yield futures
    serving.close()


def pull(pulls, name: str) -> bytes:
    """The raw output of a player that ended well and had nothing to complain about."""
    if name not in pulls:
        pytest.skip(f"{name.partition(' ')[0]} is not installed")
    done = pulls[name].result()
    status, said = without_interrupted_pause(done.returncode, done.stderr.decode(errors="replace"))
    assert status == 0, said
    assert "rror" not in said, said
    return done.stdout


H264_PULLS = ["ffmpeg tcp", "ffmpeg udp", "ffmpeg tls", "gst tcp", "gst udp", "gst tls"]
OTHER_PULLS = ["pyav tcp", "pyav udp", "opencv tcp", "opencv udp", "ffmpeg h265 tcp", "ffmpeg h265 udp"]


@pytest.mark.parametrize("name", H264_PULLS + OTHER_PULLS)
def test_every_picture_arrives_whole_and_in_order(pulls, tools, name):
    width, height = tools.size
    pictures = np.frombuffer(pull(pulls, name), np.uint8).reshape(-1, height * 3 // 2, width)
    found = [tools.number_in(picture) for picture in pictures]
    assert len(found) >= PICTURES
    assert found == list(range(found[0], found[0] + len(found)))


@pytest.mark.parametrize("name", ["ffmpeg aac", "ffmpeg pcmu"])
def test_sound_arrives(pulls, name):
    samples = np.frombuffer(pull(pulls, name), np.int16).astype(float)
    assert len(samples) > 12000
    middle = samples[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert spectrum[430:451].sum() > 0.9 * spectrum.sum()
