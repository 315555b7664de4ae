"""``anonymizer rules sign``: an officer's permission to relax rules over MQTT."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from anonymizer.errors import ConfigError
from anonymizer.policy import envelope
from anonymizer.record.keys import read_signing

_MINUTES = 5.0


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sign = verbs.add_parser("sign", help="on the officer's machine: print a command that relaxes rules, signed")
    sign.add_argument("topic", metavar="TOPIC", help="where it is to be published, such as anonymizer/gate/privacy/set")
    sign.add_argument("payload", metavar="TEXT", help="what is to be published there; @FILE reads it from a file")
    sign.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="as `anonymizer keys create relax` made it"
    )
    most = envelope.MAX_LIFETIME / 60
    sign.add_argument(
        "--minutes", type=float, default=_MINUTES, help=f"how long it may be used, once; at most {most:.0f}, default 5"
    )
    sign.set_defaults(command=_sign)


def _sign(given: argparse.Namespace) -> int:
    if not 0 < given.minutes * 60 <= envelope.MAX_LIFETIME:
        raise ConfigError(f"--minutes {given.minutes:g}: must be above 0 and at most {envelope.MAX_LIFETIME / 60:.0f}")
    key = read_signing(given.key)
    if key is None:
        raise ConfigError(f"there is no key {given.key}; `anonymizer keys create relax` makes one")
    # A second less than may be, for what the clocks differ.
    expires = time.time() + max(1.0, given.minutes * 60 - 1)
    sealed = envelope.seal(key, given.topic, _payload(given.payload), secrets.token_hex(16), expires)
    sys.stdout.write(sealed.decode() + "\n")
    return 0


def _payload(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        data = Path(text[1:]).read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{text[1:]}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{text[1:]}: not UTF-8 text") from None
    return data
