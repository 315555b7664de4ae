from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.export import incident, review, subject
from anonymizer.export.eye import Moment
from anonymizer.export.job import Job
from anonymizer.export.marks import Mark
from anonymizer.statedir import StateDir
from tests.export import scene
from tests.export.scene import WALL

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOMENTS = [
    Moment(WALL + 3, WALL + 3.5, 4, "it is not certain that this is a face", 0.4, (20, 20, 30, 30), True),
    Moment(WALL + 2, WALL + 2.5, 3, "no clear majority", 0.2, (60, 40, 30, 30)),
]


class Served:
    """A review in a thread."""

    def __init__(self, folder: Path) -> None:
        state = StateDir(folder / "state")
        scene.recorded(state, folder / "recordings", seconds=6)
        self.result: list[review.Signed] = []
        self.error: list[Exception] = []
        self.address = ""
        known = threading.Event()

        def announce(url: str) -> None:
            self.address = url
            known.set()

        def work() -> None:
            with Job.open(state, "export", {"case": "C-1"}) as job:

                def make(marks: dict[str, list[Mark]]) -> tuple[Any, subject.Told]:
                    made = incident.make(
                        job, state, Config(), ["gate"], WALL, WALL + 6, sound=False, marks=marks,
                        progress=lambda what, share: None,
                    )  # fmt: skip
                    return made, subject.Told({made.videos[0].name: MOMENTS})

                session = review.Session(job, make, *make({}), {})
                self.before = session.made.videos[0]
                try:
                    self.result.append(review.serve(session, announce=announce))
                except ConfigError as error:
                    self.error.append(error)

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        assert known.wait(120)

    def ended(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def ask(opener: urllib.request.OpenerDirector, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def until(page: Page, true: str) -> None:
    """Wait for an expression; the page's own policy forbids playwright's way of doing so."""
    deadline = time.monotonic() + 90
    while not page.evaluate(true):
        assert time.monotonic() < deadline, true
        page.wait_for_timeout(100)


def test_only_who_was_given_the_address_gets_anything(tmp_path: Path) -> None:
    served = Served(tmp_path)
    base = served.address.partition("/?")[0]
    stranger = urllib.request.build_opener()
    for path in ("/", "/state", "/review.js", f"/video/1/{served.before.name}", "/?token=wrong"):
        assert ask(stranger, base + path)[0] == 403, path
    known = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    status, page = ask(known, served.address)
    assert status == 200 and b"//" not in page
    assert ask(stranger, served.address)[0] == 403, "the address opens once"
    assert ask(known, f"{base}/state", Host="evil.example")[0] == 403
    assert ask(known, f"{base}/refuse", {}, Origin="http://evil.example")[0] == 403
    status, told = ask(known, f"{base}/state")
    assert [moment["sure"] for moment in json.loads(told)["moments"]] == [0.2, 0.4], "the least certain first"
    origin = {"Origin": base}
    name = served.before.name
    release = {"what": "release", "start": WALL + 2, "stop": WALL + 2.5, "track": 3}
    status, answer = ask(known, f"{base}/marks", {name: [release]}, **origin)
    assert status == 400 and b"may be a third person" in answer
    for wrong in ({"other.mp4": []}, {name: [{"what": "cover", "start": 1, "stop": 2}]}, [], {name: 5}):
        assert ask(known, f"{base}/marks", wrong, **origin)[0] == 400
    signing = {"reviewer": "R. Viewer", "version": 1, "seen": 2, "marks": {}}
    assert ask(known, f"{base}/sign", {**signing, "version": 2}, **origin)[0] == 400, "other pictures"
    assert ask(known, f"{base}/sign", {**signing, "reviewer": " "}, **origin)[0] == 400
    box = {"what": "cover", "start": WALL + 1, "stop": WALL + 2, "boxes": [[WALL + 1, [1, 1, 9, 9]]]}
    assert ask(known, f"{base}/sign", {**signing, "marks": {name: [box]}}, **origin)[0] == 400, "not made yet"
    assert ask(known, f"{base}/refuse", {}, **origin)[0] == 200
    served.ended()
    assert served.error and not served.result


def test_a_missed_face_is_boxed_in_a_browser_and_signed_off(tmp_path: Path, page: Page) -> None:
    served = Served(tmp_path)
    asked: list[str] = []
    page.set_default_timeout(60_000)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.address)
    until(page, "document.getElementById('player').readyState >= 2")
    assert page.locator("#moments li").count() == 2
    page.locator("#moments li button").first.click()
    until(page, "Math.abs(document.getElementById('player').currentTime - 2.01) < 0.1")
    page.click("#draw")
    area = page.locator("#canvas").bounding_box()
    assert area is not None
    across, down = area["width"] / 192, area["height"] / 144
    page.mouse.move(area["x"] + 40 * across, area["y"] + 40 * down)
    page.mouse.down()
    page.mouse.move(area["x"] + 80 * across, area["y"] + 90 * down, steps=4)
    page.mouse.up()
    page.fill("#from", "1")
    page.fill("#to", "4")
    page.click("#add")
    assert page.locator("#marks li").count() == 1
    page.fill("#reviewer", "R. Viewer")
    page.click("#sign")
    until(page, "document.getElementById('problem').textContent.includes('not made yet')")
    page.click("#again")
    until(page, "state.version === 2 && !state.busy")
    page.click("#sign")
    until(page, "document.getElementById('done').textContent.startsWith('Signed off')")
    served.ended()
    base = served.address.partition("/?")[0]
    assert asked and all(url.startswith(base) for url in asked), "nothing from elsewhere"
    (signed,) = served.result
    assert signed.signoff.reviewer == "R. Viewer" and signed.signoff.moments == 1
    assert len(signed.signoff.changes) == 1 and "a box added" in signed.signoff.changes[0]
    (video,) = signed.made.videos
    assert video.name == served.before.name and video.frames == 150
    with av.open(str(video.path)) as source:
        luma = [frame.to_ndarray(format="gray") for frame in source.decode(video=0)]
    inside = [float(np.std(picture[45:85, 45:75])) for picture in luma]
    assert max(inside[26:99]) < 6 and max(inside[:24]) > 20 and max(inside[102:]) > 20
