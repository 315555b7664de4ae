"""What the RTSP and the HTTP server have in common: where they listen, their certificate, how users log in."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Literal

from anonymizer.errors import ConfigError, PublishError
from anonymizer.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ListeningSettings:
    """Of a server that takes connections."""

    host: str = setting(
        "Address", default="0.0.0.0", description="Address to listen on; '::' listens on IPv6 and IPv4."
    )
    certificate: str = setting(
        "Certificate", default="", description="PEM file with the TLS certificate and its chain; needed for TLS."
    )
    private_key: str = setting(
        "Private key", default="", description="PEM file with the certificate's key; needed for TLS."
    )
    auth: Literal["digest", "basic", "none"] = setting(
        "Authentication",
        default="digest",
        description="'digest' takes Digest, and Basic over TLS only; 'basic' takes Basic without TLS too, which shows "
        "the password to the network; 'none' lets everyone watch.",
    )
    digest: tuple[Literal["MD5", "SHA-256"], ...] = setting(
        "Digest algorithms",
        default=("MD5",),
        minimum=1,
        maximum=2,
        single=True,
        description="Offered in this order. Many clients know only MD5, and some look only at the first or last offer.",
    )
    nonce_life: float = setting(
        "Nonce life", default=60.0, minimum=1, unit="seconds", description="How long a Digest login may be repeated."
    )


def listen(server: str, host: str, port: int, name: str = "port") -> socket.socket:
    """A socket that listens and never blocks. server, name: for messages: whose port it is, and the setting's name.

    ConfigError for a host that is no address here, PublishError for a port that is taken.
    """
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigError(f"{server}: host {host!r} is no address of this machine: {error}") from error
    try:
        made = socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=family == socket.AF_INET6)
    except OSError as error:
        raise PublishError(f"{server}: cannot listen on {host}:{port}: {error}; set another {name}") from error
    made.setblocking(False)
    return made


def tls_context(server: str, settings: ListeningSettings) -> ssl.SSLContext:
    """ConfigError for a certificate or a key that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.certificate, settings.private_key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{server}: certificate {settings.certificate} with private_key {settings.private_key} cannot be used: "
            f"{error}"
        ) from error
    return context


def renew(server: str, settings: ListeningSettings, context: ssl.SSLContext) -> None:
    """Read certificate and key again, for connections to come. ConfigError where they cannot be used; the old ones
    stay then."""
    tls_context(server, settings)
    context.load_cert_chain(settings.certificate, settings.private_key)
