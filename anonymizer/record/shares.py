"""An age identity among k of n people: Shamir's secret sharing as SLIP-0039 writes it, each share 33 words.

The words carry a checksum, the number that is due, and a mark of the set that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from pyrage.x25519 import Identity
from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from anonymizer.errors import ConfigError

_PREFIX = "age-secret-key-"
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def split(identity: Identity, threshold: int, count: int) -> list[str]:
    """count shares, of which any threshold give the identity back. ConfigError where the numbers make no sense."""
    if not 2 <= threshold <= count <= 16:
        raise ConfigError(f"{threshold} of {count} shares cannot be: 2 or more are due, of at most 16")
    words: list[str] = generate_mnemonics(1, [(threshold, count)], _secret(identity))[0]
    return words


def join(words: Sequence[str]) -> Identity:
    """The identity from enough shares. ConfigError where they are too few, damaged, or of different sets."""
    try:
        parsed = [Share.from_mnemonic(text) for text in words]
        if parsed and len({share.index for share in parsed}) < parsed[0].member_threshold:
            raise ConfigError(f"{parsed[0].member_threshold} different shares are due, not {len(set(words))}")
        return _identity(combine_mnemonics(words))
    except MnemonicError as error:
        raise ConfigError(f"these shares give no key: {error}") from error


def numbers(words: Iterable[str]) -> list[int]:
    """Which shares these are, from 1: for the audit."""
    return sorted(Share.from_mnemonic(text).index + 1 for text in words)


# An age identity is 32 bytes in Bech32 (BIP 173), in capitals.


def _secret(identity: Identity) -> bytes:
    digits = [_CHARSET.index(char) for char in str(identity).lower().removeprefix(_PREFIX + "1")[:-6]]
    number = 0
    for digit in digits:
        number = number << 5 | digit
    return (number >> len(digits) * 5 - 256).to_bytes(32, "big")


def _identity(secret: bytes) -> Identity:
    number = int.from_bytes(secret, "big") << 4  # 256 bits in 52 digits of 5
    digits = [number >> 5 * index & 31 for index in reversed(range(52))]
    expanded = [*(ord(char) >> 5 for char in _PREFIX), 0, *(ord(char) & 31 for char in _PREFIX)]
    check = _polymod(chain(expanded, digits, [0] * 6)) ^ 1
    digits += [check >> 5 * (5 - index) & 31 for index in range(6)]
    return Identity.from_str(f"{_PREFIX}1{''.join(_CHARSET[digit] for digit in digits)}".upper())


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check
