"""Passwords: Digest (RFC 2617, RFC 7616) and Basic (RFC 7617), nonces that expire, a limit on guesses.

No I/O and no clock: ``now`` is seconds on any clock that does not run back. RTSP and HTTP use it alike.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from base64 import b64decode
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

REALM = "anonymizer"

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}

_NOBODY = os.urandom(32)
"""Compared with where the name is unknown; nobody can send it."""

_PARAMETER = re.compile(r'\s*([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|$)')

_SURROGATE = re.compile("[\ud800-\udfff]")
"""What aiohttp makes of bytes that are no UTF-8."""


@dataclass(frozen=True, slots=True)
class User:
    """Who may watch. The password never shows in a repr."""

    name: str
    password: str = field(repr=False)


class Verdict(Enum):
    GRANTED = "granted"
    ABSENT = "absent"
    """No credentials were sent: ask for them; no guess."""
    STALE = "stale"
    """The password is right, the nonce has expired: give a new one; no guess."""
    WRONG = "wrong"


class Nonces:
    """Nonces that prove their own age and whom they were given to, so that none need be remembered."""

    def __init__(self, key: bytes, life: float) -> None:
        self._key = key
        self._life = life

    def issue(self, now: float, address: str) -> str:
        stamp = f"{max(0, int(now * 1000)):013x}"
        return stamp + self._seal(stamp, address)

    def fresh(self, nonce: str, now: float, address: str) -> bool:
        """Whether this object issued the nonce to that address, at most ``life`` seconds ago."""
        stamp = nonce[:13]
        if not hmac.compare_digest(nonce[13:].encode(), self._seal(stamp, address).encode()):
            return False
        return 0 <= now - int(stamp, 16) / 1000 <= self._life

    def _seal(self, stamp: str, address: str) -> str:
        return hmac.new(self._key, f"{stamp} {address}".encode(), "sha256").hexdigest()[:32]


class Guesses:
    """Counts wrong passwords by address: IPv4 whole, IPv6 by its /64. Remembers the newest ``addresses`` of them."""

    def __init__(self, limit: int, window: float, addresses: int = 1024) -> None:
        self._limit = limit
        self._window = window
        self._addresses = addresses
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wrong(self, address: str, now: float) -> None:
        times = self._wrong.setdefault(_network(address), deque(maxlen=self._limit))
        times.append(now)
        self._wrong.move_to_end(_network(address))
        if len(self._wrong) > self._addresses:
            self._wrong.popitem(last=False)

    def wait(self, address: str, now: float) -> float:
        """Seconds until the address may try again; 0 where it may now."""
        times = self._wrong.get(_network(address))
        if times is None or len(times) < self._limit:
            return 0.0
        return max(0.0, times[0] + self._window - now)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def challenges(algorithms: Iterable[str], nonce: str, *, stale: bool, basic: bool) -> list[str]:
    """The values of WWW-Authenticate: Digest with each of MD5 and SHA-256 as given, then Basic if it is accepted.

    No qop is offered: widespread RTSP clients do not know it; a response that uses it all the same is understood.
    """
    tail = ", stale=TRUE" if stale else ""
    # MD5 is the default and left unnamed (RFC 2617 3.2.1): some clients trip over the name.
    named = {"MD5": "", "SHA-256": ", algorithm=SHA-256"}
    offered = [f'Digest realm="{REALM}", nonce="{nonce}"{named[each]}{tail}' for each in algorithms]
    return [*offered, f'Basic realm="{REALM}"'] if basic else offered


def check(
    header: str | None,
    method: str,
    users: Iterable[User],
    *,
    fresh: Callable[[str], bool],
    same_target: Callable[[str], bool],
    algorithms: Iterable[str],
    basic: bool,
) -> tuple[Verdict, str]:
    """Judges an Authorization header; the second value is the name that the client claims, or ''.

    Basic where it is not accepted counts as absent: it is not looked at, so it is no guess.

    fresh: whether a nonce is good. same_target: whether the digest's uri means what the request asks for. algorithms:
    those that were offered. basic: whether a password sent in the clear is accepted.
    """
    if header is None:
        return Verdict.ABSENT, ""
    if _SURROGATE.search(header):
        return Verdict.WRONG, ""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "digest":
        return _check_digest(rest, method, list(users), fresh=fresh, same_target=same_target, algorithms=algorithms)
    if scheme.lower() == "basic":
        return _check_basic(rest, list(users)) if basic else (Verdict.ABSENT, "")
    return Verdict.WRONG, ""


def _check_basic(value: str, users: list[User]) -> tuple[Verdict, str]:
    try:
        name, colon, password = b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return Verdict.WRONG, ""
    if not colon or not name.isprintable():
        return Verdict.WRONG, ""
    granted = _any(hmac.compare_digest(password.encode(), each) for each in _passwords(name, users))
    return (Verdict.GRANTED if granted else Verdict.WRONG), name


def _check_digest(
    value: str,
    method: str,
    users: list[User],
    *,
    fresh: Callable[[str], bool],
    same_target: Callable[[str], bool],
    algorithms: Iterable[str],
) -> tuple[Verdict, str]:
    given = parse_parameters(value)
    if given is None or not {"username", "nonce", "uri", "response"} <= given.keys():
        return Verdict.WRONG, ""
    name, algorithm = given["username"], given.get("algorithm", "MD5").upper()
    known = algorithm in set(algorithms) and given.get("realm") == REALM and same_target(given["uri"])
    if not known or given.get("qop", "auth").lower() != "auth":
        return Verdict.WRONG, name
    wanted = (_response(each, algorithm, method, given) for each in _passwords(name, users))
    if not _any(hmac.compare_digest(given["response"].lower().encode(), each.encode()) for each in wanted):
        return Verdict.WRONG, name
    return (Verdict.GRANTED if fresh(given["nonce"]) else Verdict.STALE), name


def _passwords(name: str, users: list[User]) -> list[bytes]:
    """The passwords to try. An unknown name costs as much time as a known one; the empty password is never right."""
    found = [user.password.encode() for user in users if user.name == name and user.password]
    return found or [_NOBODY]


def _any(results: Iterable[bool]) -> bool:
    """Like any(), but looks at all of them, so that the time does not tell which one it was."""
    return sum(results) > 0


def _response(password: bytes, algorithm: str, method: str, given: dict[str, str]) -> str:
    def digest(*parts: str | bytes) -> str:
        joined = b":".join(part if isinstance(part, bytes) else part.encode() for part in parts)
        return hashlib.new(_HASHES[algorithm], joined, usedforsecurity=False).hexdigest()

    secret = digest(given["username"], REALM, password)
    target = digest(method, given["uri"])
    if "qop" in given:
        return digest(secret, given["nonce"], given.get("nc", ""), given.get("cnonce", ""), "auth", target)
    return digest(secret, given["nonce"], target)


def parse_parameters(text: str) -> dict[str, str] | None:
    """``a="x", b=y`` as a dict by lower-case name; None where the text is malformed or a name comes twice."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        at = match.end()
    return found
