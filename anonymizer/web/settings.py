"""Settings of the HTTP server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anonymizer.settings import Wrong, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSettings:
    """The HTTP server: stills, states, health and metrics. Users, passwords and the limit on guesses are those of
    the streams."""

    host: str = setting("Address", default="0.0.0.0", description="Address to listen on; '::' listens on IPv6 and IPv4")
    port: int = setting("Port", default=8080, minimum=0, maximum=65535, description="TCP port; 0 takes a free one")
    tls: bool = setting("TLS", default=False, description="Serve HTTPS, and HTTPS only")
    certificate: str = setting(
        "Certificate", default="", description="PEM file with the TLS certificate and its chain; needed for TLS"
    )
    private_key: str = setting(
        "Private key", default="", description="PEM file with the certificate's key; needed for TLS"
    )
    auth: Literal["digest", "basic", "none"] = setting(
        "Authentication",
        default="digest",
        description="'digest' takes Digest, and Basic over TLS only; 'basic' takes Basic without TLS too, which shows "
        "the password to the network; 'none' lets everyone see stills and states",
    )
    digest: tuple[Literal["MD5", "SHA-256"], ...] = setting(
        "Digest algorithms",
        default=("MD5",),
        minimum=1,
        maximum=2,
        single=True,
        description="Offered in this order. Some clients know only MD5, and some look only at the first offer",
    )
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
        description="After so long without a whole request a connection is closed",
    )
    still_timeout: float = setting(
        "Still timeout", default=3.0, minimum=0.1, unit="seconds", description="How long to wait for a camera's still"
    )
    nonce_life: float = setting(
        "Nonce life", default=60.0, minimum=1, unit="seconds", description="How long a Digest login may be repeated"
    )

    def __post_init__(self) -> None:
        if self.tls and not (self.certificate and self.private_key):
            raise Wrong("tls needs certificate and private_key too", "tls")
