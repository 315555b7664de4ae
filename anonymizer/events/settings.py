"""Settings of the connection to the MQTT broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anonymizer.settings import Secret, Wrong, setting

_LEVELS = r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*"


@dataclass(frozen=True, kw_only=True)
class HomeAssistantSettings:
    """How cameras show up in Home Assistant (2024.12 or newer)."""

    discovery: bool = setting("Discovery", default=False, description="Announce each camera as a device")
    discovery_prefix: str = setting(
        "Discovery prefix", default="homeassistant", pattern=_LEVELS, description="As set in Home Assistant"
    )
    still_interval: float = setting(
        "Still interval",
        default=10.0,
        minimum=0,
        maximum=3600,
        unit="seconds",
        description="How often an anonymised still goes out over MQTT for the image entity; 0 for never. "
        "Only with discovery",
    )


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """The MQTT broker, which takes events and states and brings commands."""

    host: str = setting("Broker", minimum=1, description="Name or address of the broker", example="mosquitto")
    port: int = setting("Port", default=0, minimum=0, maximum=65535, description="0 stands for 1883, or 8883 with TLS")
    version: Literal["3.1.1", "5"] = setting(
        "MQTT version", default="3.1.1", description="5 tells reasons when the broker refuses something"
    )
    prefix: str = setting(
        "Topic prefix", default="anonymizer", pattern=_LEVELS, description="Every topic begins with it"
    )
    client_id: str = setting(
        "Client id", default="", maximum=128, description="Must be the broker's only one; empty draws one at each start"
    )
    username: str = setting("User name", default="", description="As the broker knows it; empty for none")
    password: Secret | None = setting(
        "Password", default=None, description="Read anew at each connection", example="env:MQTT_PASSWORD"
    )
    tls: bool = setting(
        "TLS", default=False, description="Encrypt, and check that the broker's certificate is good for its host name"
    )
    ca: str = setting(
        "Certificate authority", default="", description="PEM file to check the broker with; empty for the system's own"
    )
    certificate: str = setting(
        "Client certificate", default="", description="PEM file, where the broker asks for one; needs TLS"
    )
    private_key: str = setting("Private key", default="", description="PEM file with the client certificate's key")
    keepalive: int = setting(
        "Keep-alive",
        default=30,
        minimum=5,
        maximum=3600,
        unit="seconds",
        description="A broker that is silent for about twice as long counts as gone",
    )
    queue: int = setting(
        "Event queue",
        default=1000,
        minimum=1,
        maximum=100_000,
        description="Events kept while the broker is away; beyond it the oldest are dropped and counted",
    )
    may_relax: bool = setting(
        "May relax",
        default=False,
        description="Whether commands may go below the configured rules; tightening is always allowed",
    )
    relax_key: str = setting(
        "Relax key",
        default="",
        description="Ed25519 public key, base64: relaxations then need an envelope signed with its private half",
    )
    homeassistant: HomeAssistantSettings = setting("Home Assistant", default=HomeAssistantSettings())

    def __post_init__(self) -> None:
        if self.password is not None and not self.username:
            raise Wrong("a password needs a username", "password")
        if self.certificate and not self.private_key:
            raise Wrong("a client certificate needs a private_key", "certificate")
        if (self.ca or self.certificate) and not self.tls:
            raise Wrong("a certificate is of no use without tls: true", "ca" if self.ca else "certificate")

    @property
    def broker(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port_in_use}"

    @property
    def port_in_use(self) -> int:
        return self.port or (8883 if self.tls else 1883)
