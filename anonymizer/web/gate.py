"""Who may see which camera over HTTP: the same users and passwords as over RTSP."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from anonymizer.publish import User, digest
from anonymizer.publish.digest import Guesses, Nonces, Verdict
from anonymizer.publish.server import AccessEvent
from anonymizer.web.settings import HttpSettings

_AUDIT_EVERY = 600.0  # seconds after which a user's access to a camera is noted again
_AUDIT_MEMORY = 1024


class Gate:
    """audit: called with each AccessEvent. guesses: wrong passwords so far, over RTSP too.
    clock: seconds, never running back; the one that guesses go by."""

    def __init__(
        self, settings: HttpSettings, audit: Callable[[AccessEvent], None], guesses: Guesses, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._clock = clock
        self._nonces = Nonces(secrets.token_bytes(32), settings.nonce_life)
        self._guesses = guesses
        self._noted: OrderedDict[AccessEvent, float] = OrderedDict()
        self.wrong_passwords = 0

    def admit(self, request: web.Request, users: Mapping[str, Sequence[User]], asked: str = "") -> set[str]:
        """The cameras that the request's sender may see, of those whose users are given.

        asked: the camera that the request is for, if it is for one. Raises HTTPUnauthorized for a request without a
        good login, HTTPForbidden after too many wrong ones.
        """
        settings, now, address = self._settings, self._clock(), request.remote or ""
        if settings.auth == "none":
            return set(users)
        wait = self._guesses.wait(address, now)
        if wait:
            raise web.HTTPForbidden(headers={"Retry-After": str(int(wait) + 1)}, text="Too many wrong passwords.\n")
        basic = settings.auth == "basic" or request.secure
        verdicts: dict[str, Verdict] = {}
        name = ""
        for camera, group in users.items():
            verdicts[camera], name = digest.check(
                request.headers.get("Authorization"),
                request.method,
                group,
                fresh=lambda nonce: self._nonces.fresh(nonce, now, address),
                same_target=lambda uri: uri == request.raw_path,
                algorithms=settings.digest,
                basic=basic,
            )
        granted = {camera for camera, verdict in verdicts.items() if verdict is Verdict.GRANTED}
        if granted:
            kind = "refused" if asked and asked not in granted else "accepted"
            event = AccessEvent(kind, name, address, request.path)
            if self._new(event, now):
                self._audit(event)
            return granted
        stale = Verdict.STALE in verdicts.values()
        if not stale and Verdict.WRONG in verdicts.values():
            self.wrong_passwords += 1
            self._guesses.wrong(address, now)
            self._audit(AccessEvent("refused", name, address, request.path))
            if self._guesses.wait(address, now):  # told once, not for each request while it lasts
                self._audit(AccessEvent("blocked", "", address, ""))
        nonce = self._nonces.issue(now, address)
        refusal = web.HTTPUnauthorized(text="A user name and password are needed.\n")
        for offer in digest.challenges(settings.digest, nonce, stale=stale, basic=basic):
            refusal.headers.add("WWW-Authenticate", offer)
        raise refusal

    def _new(self, access: AccessEvent, now: float) -> bool:
        """Whether the audit has not had this access for a while: a still every second needs no line each."""
        last = self._noted.get(access)
        if last is not None and now - last < _AUDIT_EVERY:
            return False
        self._noted[access] = now
        self._noted.move_to_end(access)
        if len(self._noted) > _AUDIT_MEMORY:
            self._noted.popitem(last=False)
        return True
