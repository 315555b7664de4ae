"""``anonymizer camera probe URL``."""

from __future__ import annotations

import argparse
import os
import time

import av

from anonymizer.assembly import detectors
from anonymizer.config import FacesSettings
from anonymizer.frame import Planes
from anonymizer.ingest.camera import SourceSettings
from anonymizer.ingest.picture import planes_of
from anonymizer.ingest.probe import probe
from anonymizer.publish.live import LiveEncoder, LiveSettings
from anonymizer.settings import Secret

_LOOKS = 6.5  # a second: how often the whole picture is looked at


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    camera = commands.add_parser("camera", help="look at a camera")
    verbs = camera.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser("probe", help="what it sends, what it costs here, what to change in its settings")
    one.add_argument("url", metavar="URL", help="rtsp:// address, /dev/video0, or a file")
    one.add_argument("--user", default="")
    one.add_argument("--password", default="", metavar="env:NAME", help="env:NAME or file:PATH")
    one.add_argument("--transport", choices=("tcp", "udp"), default="tcp")
    one.add_argument("--seconds", type=float, default=6.0, help="how long to look (default: %(default)s)")
    one.set_defaults(command=_probe)


def _probe(given: argparse.Namespace) -> int:
    password = Secret(given.password) if given.password else None
    source = SourceSettings.given(url=Secret(given.url), user=given.user, password=password, transport=given.transport)
    found = probe(source, given.seconds)
    keys = f"{found.key_distance:.1f} s apart" if found.key_distance else "only one seen"
    print(f"{source.shown()}")
    size = f"{found.width} × {found.height}"
    print(f"  video      {found.codec} {found.profile}, {size}, {found.rate:.1f} pictures a second,")
    print(f"             {found.bitrate:.0f} kbit/s, key frames {keys}, {'with' if found.reordered else 'no'} B-frames")
    print(f"  audio      {found.audio or 'none'}")
    print(f"  clock      {'told by the camera' if found.clock else 'not told'}")
    detect, encode = _detection(found.pictures), _encoding(found.pictures)
    total = found.decode_ms + encode + detect * min(1.0, _LOOKS / max(found.rate, 1.0))
    share = total * found.rate / 1000
    print(
        f"  cost here  {found.decode_ms:.1f} ms decoding + {detect:.1f} ms a look for faces + {encode:.1f} ms encoding;"
    )
    print(f"             about {share:.0%} of one core, and 2 to 3 ms more for each face in a picture")
    print(f"             ({os.cpu_count()} cores here)")
    for sentence in found.advice() or ["Nothing to change in its settings."]:
        print(f"  - {sentence}")
    return 0


def _detection(pictures: list[Planes]) -> float:
    """CPU ms of one look at the whole picture."""
    detector, _ = detectors(FacesSettings())
    planes = pictures[-1]
    scale = min(1.0, FacesSettings().size / max(planes.width, planes.height))
    size = round(planes.width * scale), round(planes.height * scale)
    detector.detect([planes.bgr(size)], 0.3)
    start = time.process_time()
    for _ in range(5):
        detector.detect([planes.bgr(size)], 0.3)
    return 1000 * (time.process_time() - start) / 5


def _encoding(pictures: list[Planes]) -> float:
    """CPU ms of encoding one picture."""
    first = pictures[0]
    encoder = LiveEncoder(first.width, first.height, first.full_range, 25, LiveSettings())
    spent = 0.0
    for index, planes in enumerate(pictures):
        frame = av.VideoFrame(first.width, first.height, "yuvj420p" if first.full_range else "yuv420p")
        target = planes_of(frame)
        target.y[:], target.u[:], target.v[:] = planes.y, planes.u, planes.v
        start = time.process_time()
        encoder.encode(frame, index / 25, 0.0)
        spent += time.process_time() - start
    return 1000 * spent / len(pictures)
