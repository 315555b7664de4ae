"""The configuration file: every setting of the proxy, declared once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from anonymizer import settings, yamlfile
from anonymizer.events.settings import MqttSettings
from anonymizer.faces.look import LookSettings
from anonymizer.ingest.camera import SourceSettings
from anonymizer.policy import files
from anonymizer.publish.encoder import EncoderSettings
from anonymizer.publish.live import LiveSettings, SubSettings
from anonymizer.publish.settings import RtspSettings
from anonymizer.record.settings import RecordSettings
from anonymizer.settings import Secret, Wrong, setting
from anonymizer.web.settings import HttpSettings

Provider = Literal[
    "cpu", "cuda", "tensorrt", "rocm", "migraphx", "openvino", "coreml", "qnn", "directml", "xnnpack", "acl", "cann"
]

CAMERA_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"


@dataclass(frozen=True, kw_only=True)
class FacesSettings:
    """How faces are found and followed."""

    detector: str = setting(
        "Detector",
        default="auto",
        description="A name from `anonymizer models list`, an ONNX file, or auto: yunet_n if fetched, else our own",
    )
    second_detector: str = setting(
        "Second detector", default="", description="Asked as well in thorough mode, such as centerface; empty for none"
    )
    landmarks: str = setting(
        "Landmarks", default="auto", description="An ONNX file, or auto: our own. Replaced faces need them"
    )
    recogniser: str = setting(
        "Recogniser",
        default="auto",
        description="A name from `anonymizer models list`, or an ONNX file. Read only where a rule names a group",
    )
    size: int = setting(
        "Detector input",
        default=960,
        minimum=160,
        maximum=3840,
        unit="pixels",
        description="Longer side of the picture that the detector sees; larger finds smaller faces for more CPU time",
    )
    lookahead: float = setting(
        "Look-ahead",
        default=0.5,
        minimum=0,
        maximum=5,
        unit="seconds",
        description="How long a frame waits, so that a face found late is covered from its first frame; 0 for viewing",
    )
    thorough: bool = setting(
        "Thorough",
        default=False,
        description="Every frame at full size and mirrored too. For files that matter; far too slow for live streams",
    )
    look: LookSettings = setting("Look at every frame", default=LookSettings())
    providers: tuple[Provider, ...] = setting(
        "Execution providers",
        default=("cpu",),
        single=True,
        description="Of onnxruntime, the preferred first; what is missing is replaced by the CPU",
    )
    threads: int = setting("Threads", default=1, minimum=1, maximum=64, description="Threads of one run of a model")


@dataclass(frozen=True, kw_only=True)
class IdentitySettings:
    """Who stands in for the people in the picture."""

    key: Secret | None = setting(
        "Bank key",
        default=None,
        description="Secret from which the new faces are drawn, 32 hexadecimal digits or more. Without it the one of "
        "`anonymizer keys create bank` is taken, else one drawn at each start: then nothing links two starts' faces",
        example="env:ANONYMIZER_BANK_KEY",
    )
    model: str = setting("Face model", default="auto", description="A face model file, or auto: our own")

    def bank_key(self) -> bytes | None:
        """The key's bytes. ConfigError where it is missing, ValueError where it is no key."""
        if self.key is None:
            return None
        text = self.key.reveal()
        if not re.fullmatch(r"([0-9a-fA-F]{2}){16,}", text):
            raise ValueError("the bank key must be hexadecimal, 32 digits or more")
        return bytes.fromhex(text)


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """One camera, served at rtsp://HOST:PORT/NAME."""

    source: SourceSettings = setting("Source")
    users: dict[str, Secret] = setting(
        "Users",
        factory=dict,
        description="Who may watch: names and passwords. Without users the service starts only with rtsp.auth: none",
        example={"nvr": "env:NVR_PASSWORD"},
    )
    lookahead: float | None = setting(
        "Look-ahead", default=None, minimum=0, maximum=5, unit="seconds", description="As faces.lookahead, here only"
    )
    rules: str = setting("Rules", default="", description="As rules, for this camera only")
    encoder: LiveSettings = setting("Encoder", default=LiveSettings())
    sub: SubSettings | None = setting("Sub-stream", default=None, description="A smaller stream at /NAME/sub")
    audio: Literal["drop", "pass"] = setting(
        "Audio", default="drop", description="Voices tell on people; passed on, they wait as long as the pictures do"
    )
    record: RecordSettings = setting("Recording", default=RecordSettings())


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of anonymizer. Every key may be left out."""

    faces: FacesSettings = setting("Faces", default=FacesSettings())
    identity: IdentitySettings = setting("Identities", default=IdentitySettings())
    rules: str = setting(
        "Rules",
        default="",
        description="A rules file, beside this one, or the name of a shipped one; empty replaces every face",
    )
    encoder: EncoderSettings = setting("Encoder", default=EncoderSettings(), description="Of `anonymizer redact`")
    cameras: dict[str, CameraSettings] = setting(
        "Cameras", factory=dict, pattern=CAMERA_NAME, description="By name, which becomes the path of the stream"
    )
    rtsp: RtspSettings = setting("RTSP server", default=RtspSettings())

    http: HttpSettings = setting("HTTP server", default=HttpSettings())
    mqtt: MqttSettings | None = setting("MQTT", default=None)
    profiles: dict[str, str] = setting(
        "Profiles",
        factory=dict,
        pattern=CAMERA_NAME,
        description="Named rule sets to switch to over MQTT, each a rules file or the name of a shipped one",
        example={"night": "workplace"},
    )
    state_dir: str = setting(
        "State folder",
        default="",
        description="What outlives restarts: rules set over MQTT, keys, audit. Empty for systemd's, or the user's own",
    )

    def __post_init__(self) -> None:
        if "profile" in self.cameras:
            raise Wrong("a camera cannot be named profile: its MQTT topics are taken", "cameras")
        if "configured" in self.profiles:
            raise Wrong("a profile cannot be named configured: that stands for the configured rules", "profiles")


def load(path: Path) -> Config:
    """The configuration in a file; rules files that it names lie where they do for that file. Raises ConfigError with
    every problem found, each with line and column."""
    loaded = settings.build(Config, yamlfile.read(path))

    def beside(rules: str) -> str:
        return str(path.parent / rules) if files.is_path(rules) else rules

    return replace(
        loaded,
        rules=beside(loaded.rules),
        cameras={name: replace(camera, rules=beside(camera.rules)) for name, camera in loaded.cameras.items()},
        profiles={name: beside(rules) for name, rules in loaded.profiles.items()},
    )
