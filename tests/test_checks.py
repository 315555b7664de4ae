"""``anonymizer config check`` finds what ``run`` would stumble over, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymizer import cli, config

GOOD = """\
rules: gdpr-default
cameras:
  gate:
    source: {url: rtsp://192.168.1.20/s, user: viewer, password: plain}
    users: {nvr: env:NVR_PASSWORD}
"""


def check(folder: Path, text: str) -> int:
    (folder / "config.yaml").write_text(text)
    return cli.main(["config", "check", str(folder / "config.yaml")])


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("rules: gdpr-default", "rules: absent.yaml", "1:8", "absent.yaml: cannot be read"),
        ("rules: gdpr-default", "rules: gdpr-defalt", "1:8", "Did you mean 'gdpr-default'?"),
        ("cameras:", "profiles: {night: nosuch}\ncameras:", "2:19", "no shipped rules 'nosuch'"),
        ("    users: {nvr: env:NVR_PASSWORD}\n", "", "4:5", "nobody may watch gate"),
        ("cameras:", "faces: {detector: yunet_m}\ncameras:", "2:19", "Did you mean 'yunet_n'?"),
        ("rtsp://", "rtps://", "4:19", "Did you mean 'rtsps'?"),
        ("cameras:", "mqtt: {host: h, relax_key: x}\ncameras:", "2:28", "must be an Ed25519 public key"),
        ("cameras:", "identity: {key: short}\ncameras:", "2:17", "must be hexadecimal"),
        ("cameras:", "http: {tls: true, certificate: no.pem, private_key: no.key}\ncameras:", "2:32", "no.pem"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    old: str, new: str, place: str, told: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("NVR_PASSWORD", "secret")
    assert check(tmp_path, GOOD) == 0 and not capsys.readouterr().err
    assert old in GOOD and check(tmp_path, GOOD.replace(old, new, 1)) == 2
    said = capsys.readouterr().err
    assert told in said and f"config.yaml:{place}: " in said and "secret" not in said


def test_a_secret_that_is_not_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NVR_PASSWORD", raising=False)
    assert check(tmp_path, GOOD) == 0
    said = capsys.readouterr()
    assert "warning: the secret env:NVR_PASSWORD is missing" in said.err and "good, 1 cameras" in said.out


def test_rules_lie_beside_the_configuration_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVR_PASSWORD", "secret")
    (tmp_path / "etc" / "rules").mkdir(parents=True)
    (tmp_path / "etc" / "rules" / "own.yaml").write_text("default: solid\n")
    monkeypatch.chdir(tmp_path)
    assert check(tmp_path / "etc", GOOD.replace("gdpr-default", "rules/own.yaml")) == 0
    assert config.load(Path("etc/config.yaml")).rules == "etc/rules/own.yaml"
