"""What a package is given on its way out: a timestamp, content credentials, a reviewer's word."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from anonymizer.export.job import Job
from anonymizer.record import audit, keys, label
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir
from tests.conftest import ROOT, need
from tests.export import scene
from tests.export.authority import Authority, serving
from tests.export.scene import WALL

TIMES = ["--from", label.utc(WALL), "--to", label.utc(WALL + 4)]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    Catalogue(state.path).close()  # as a service's that records
    return state


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Authority, str]]:
    pytest.importorskip("rfc3161_client", reason="needs the extra timestamp")
    need("openssl")
    with serving(tmp_path / "ca") as served:
        yield served


def sign_off(words: list[str]) -> tuple[int, str]:
    """Run an export with --review, sign it off as the page does; its exit code and what it said on standard error."""
    command = [sys.executable, "-m", "anonymizer.cli", *words, "--review"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://\S+", said)
        assert found, said + process.stderr.read()
        base = found[0].partition("/?")[0]
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        browser.open(found[0], timeout=60).close()
        with browser.open(f"{base}/state", timeout=60) as answer:
            version = json.load(answer)["version"]
        signing = {"reviewer": "R. Viewer", "version": version, "seen": 0, "marks": {}}
        request = urllib.request.Request(f"{base}/sign", json.dumps(signing).encode(), {"Origin": base})
        browser.open(request, timeout=60).close()
        rest = process.stderr.read()
    return process.returncode, rest


def test_a_timestamp_and_credentials_outlive_an_authority_that_gives_no_answer(
    tmp_path: Path, state: StateDir, authority: tuple[Authority, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Reviewed and signed off in the first life; the order goes on in the second, which need not review again."""
    c2pa = pytest.importorskip("c2pa", reason="needs the extra c2pa")
    scene.recorded(state, tmp_path / "recordings", seconds=4)
    target = tmp_path / "c1.zip"
    words = scene.arguments(tmp_path, "incident", target, "--camera", "gate", *TIMES)
    words += ["--c2pa", "--timestamp", authority[1]]
    authority[0].mend = lambda answer: b"out of order"
    code, said = sign_off(words)
    assert code == 6 and "answers wrongly" in said
    assert len(Job.orders(state, "export")) == 1 and not target.exists()
    authority[0].mend = lambda answer: answer
    assert scene.run(words) == 0
    assert not Job.orders(state, "export")
    capsys.readouterr()
    trust = ["--trust", str(state.path / keys.SIGNING_PUBLIC), "--timestamp-root", str(authority[0].root)]
    assert scene.run(["verify", str(target), *trust]) == 0
    assert "A timestamp authority vouches" in capsys.readouterr().out
    held = scene.contents(target)
    assert json.loads(held["redactions.json"])["signoff"]["reviewer"] == "R. Viewer"
    (name,) = (name for name in held if name.endswith(".mp4"))
    (tmp_path / "got.mp4").write_bytes(held[name])
    with c2pa.Reader(tmp_path / "got.mp4") as reader:
        found = json.loads(reader.json())
    assert [status["code"] for status in found["validation_status"]] == ["signingCredential.untrusted"]
    assert label.SOURCE_TYPE in json.dumps(found["manifests"])
    assert audit.verify(state.path).good


@pytest.mark.parametrize(
    ("wanted", "module", "extra"),
    [
        (["--c2pa"], "c2pa", "anonymizer[c2pa]"),
        (["--timestamp", "https://tsa.example/"], "rfc3161_client", "anonymizer[timestamp]"),
    ],
    ids=["c2pa", "timestamp"],
)
def test_without_the_extra_nothing_begins(
    tmp_path: Path, state: StateDir, wanted: list[str], module: str, extra: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    words = scene.arguments(tmp_path, "incident", tmp_path / "c1.zip", "--camera", "gate", *TIMES, *wanted)
    assert scene.run(words) == 2
    assert f"pip install '{extra}'" in capsys.readouterr().err
    assert not (tmp_path / "c1.zip").exists() and not list((state.path / "exports").iterdir())
    assert not (state.path / audit.FILE).exists(), "nothing was told, for nothing was read"


def test_an_address_that_is_none_is_refused_first(
    tmp_path: Path, state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    words = scene.arguments(tmp_path, "incident", tmp_path / "c1.zip", "--camera", "gate", *TIMES)
    assert scene.run([*words, "--timestamp", "tsa.example"]) == 2
    assert "https://" in capsys.readouterr().err and not (state.path / audit.FILE).exists()
