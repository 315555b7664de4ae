"""Sessions: what does not fit is refused by name, what is not there is replaced by the CPU."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anonymizer.errors import ConfigError, ModelError
from anonymizer.faces import runtime
from anonymizer.faces.runtime import Contract, Port, open_session, provider_names
from tests.faces import graphs

ANSWER = np.arange(6, dtype=np.float32).reshape(1, 6)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return graphs.write(tmp_path / "net.onnx", {"out": ANSWER}, (1, 3, "height", "width"))


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_warned", set())


def test_runs(model: Path) -> None:
    session = open_session(model, threads=2)
    assert np.array_equal(session.run(None, {"input": np.zeros((1, 3, 4, 4), np.float32)})[0], ANSWER)
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model at .*absent\.onnx"):
        open_session(tmp_path / "absent.onnx")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_broken_file_is_named(model: Path, share: float) -> None:
    model.write_bytes(model.read_bytes()[: int(share * model.stat().st_size)])
    with pytest.raises(ModelError, match=r"net\.onnx is not a model"):
        open_session(model)


def test_text_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "page.onnx"
    path.write_text("<html>404</html>")
    with pytest.raises(ModelError, match=r"page\.onnx is not a model"):
        open_session(path)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((Port("input"),), (Port("out"),)),
        ((Port("", (None, 3, None, None)),), (Port("", (1, 6)),)),
        ((Port("input", (1, 3, 64, 64)),), ()),  # a dynamic axis fits every size
    ],
)
def test_contract_kept(model: Path, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
    open_session(model, contract=Contract(inputs, outputs))


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        ((Port("image"),), (Port("out"),), "inputs"),
        ((Port("input", (None, 1, None, None)),), (Port("out"),), "inputs"),
        ((Port("input"), Port("mask")), (Port("out"),), "inputs"),
        ((Port("input"),), (Port("scores"),), "outputs"),
        ((Port("input"),), (Port("out", (1, 7)),), "outputs"),
        ((Port("input"),), (Port("out"), Port("")), "outputs"),
    ],
)
def test_contract_broken(model: Path, inputs: tuple[Port, ...], outputs: tuple[Port, ...], kind: str) -> None:
    with pytest.raises(ModelError, match=rf"net\.onnx has the wrong {kind}") as caught:
        open_session(model, contract=Contract(inputs, outputs))
    ports = inputs if kind == "inputs" else outputs
    assert f"expected {', '.join(map(str, ports))}" in str(caught.value)
    assert ("found input[1×3×?×?]" if kind == "inputs" else "found out[1×6]") in str(caught.value)


def test_unknown_provider_is_refused_with_a_hint(model: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean cuda"):
        open_session(model, providers=("cdua",))


def test_absent_provider_warns_once_and_falls_back(
    model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            session = open_session(model, providers=("cann", "cpu"))
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert [record.message.split()[2] for record in caplog.records] == ["cann"]


def test_provider_that_does_not_start_falls_back(
    model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtime.ort.InferenceSession

    def start(path: str, options: object, providers: list[str]) -> object:
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("no device")
        return real(path, options, providers=providers)

    monkeypatch.setattr(
        runtime.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(runtime.ort, "InferenceSession", start)
    with caplog.at_level(logging.WARNING):
        session = open_session(model, providers=("cuda",))
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert "no device" in caplog.text


def test_provider_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: list(runtime.PROVIDERS.values()))
    assert provider_names(("cpu", "tensorrt", "cuda", "cuda")) == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]


ARENA = """
import sys, numpy as np
from anonymizer.faces.detectors import load_detector
from anonymizer.faces.runtime import open_session

def own():
    rows = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("Pss_Anon"))

detector, net = load_detector(sys.argv[1]), open_session(sys.argv[2])
look = [np.zeros((544, 960, 3), np.uint8)]
for _ in range(2):
    detector.detect(look, 0.5)
before = own()
for count in (3, 12, 30):
    net.run(None, {"crops": np.zeros((count, 3, 96, 96), np.float32)})
    detector.detect(look, 0.5)
print(own() - before)
"""

GIVEN_BACK = (
    ARENA.partition("detector, net")[0]
    + """
from anonymizer.faces.runtime import give_back, run_options

net = open_session(sys.argv[2])
small, large = ({"crops": np.zeros((count, 3, 96, 96), np.float32)} for count in (1, 100))
net.run(None, small)
before = own()
net.run(None, large)
net.run(None, small)
grown = own() - before
give_back()
net.run(None, small, run_options(net))
print(grown, own() - before)
"""
)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_largest_batch_does_not_cost_memory_for_good() -> None:
    """With an arena for each session thirty faces in one picture cost 20 MB, which were never given back."""
    models = Path(__file__).parents[2] / "models"
    command = [sys.executable, "-c", ARENA, models / "face_detector.onnx", models / "face_landmarks.onnx"]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 6


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_what_the_arena_once_held_is_given_back() -> None:
    """Models that ran at the same moment for once, after half an hour, cost a worker 14 MB for good."""
    models = Path(__file__).parents[2] / "models"
    command = [sys.executable, "-c", GIVEN_BACK, models / "face_detector.onnx", models / "face_landmarks.onnx"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    grown, left = map(float, told.split())
    assert grown > 20 and left < 0.2 * grown
