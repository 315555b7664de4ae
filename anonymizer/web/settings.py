"""Settings of the HTTP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anonymizer.publish.listening import ListeningSettings
from anonymizer.settings import Wrong, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings(ListeningSettings):
    """The HTTP server: stills, states, health and metrics. Users, passwords and the limit on guesses are those of
    the streams."""

    port: int = setting("Port", default=8080, minimum=0, maximum=65535, description="TCP port; 0 takes a free one")
    tls: bool = setting("TLS", default=False, description="Serve HTTPS, and HTTPS only")
    metrics: Literal["off", "local", "open"] = setting(
        "Metrics",
        default="local",
        description="Who may read /metrics, which tells without a password how many faces each camera sees: nobody, "
        "this machine only, or everyone",
    )
    connections: int = setting(
        "Connections", default=100, minimum=1, maximum=10_000, description="Open at a time; more are closed at once"
    )
    idle_timeout: float = setting(
        "Idle timeout",
        default=15.0,
        minimum=0.5,
        unit="seconds",
        description="A connection without a whole request, or that takes no answer, is closed after it",
    )
    still_timeout: float = setting(
        "Still timeout", default=3.0, minimum=0.1, unit="seconds", description="How long to wait for a camera's still"
    )

    def __post_init__(self) -> None:
        if self.tls and not (self.certificate and self.private_key):
            raise Wrong("tls needs certificate and private_key too", "tls")
