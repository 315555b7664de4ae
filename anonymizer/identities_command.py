"""``anonymizer identities preview OUT.png``."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

import cv2

from anonymizer import registry
from anonymizer.errors import ConfigError, PublishError
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.preview import sheet


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    identities = commands.add_parser("identities", help="look at the people who stand in for others")
    verbs = identities.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser("preview", help="draw a sheet of sampled people in several poses and expressions")
    one.add_argument("target", type=Path, metavar="OUT.png")
    one.add_argument("--count", type=int, default=6, help="people, one a row (default: %(default)s)")
    one.add_argument("--size", type=int, default=160, help="pixels of a picture's side (default: %(default)s)")
    one.add_argument("--seed", help="the same seed draws the same people; without, others each time")
    one.add_argument("--model", default="auto", help="a face model file; default: our own")
    one.set_defaults(command=_preview)


def _preview(given: argparse.Namespace) -> int:
    if given.target.suffix.lower() != ".png":
        raise ConfigError(f"{given.target}: the sheet is a PNG; let the name end in .png")
    if not 1 <= given.count <= 50 or not 32 <= given.size <= 512:
        raise ConfigError("a sheet has 1 to 50 people of 32 to 512 pixels")
    # The bank key proper must not decide what a sheet shows: who has the sheet would know faces of tracks.
    key = secrets.token_bytes(32) if given.seed is None else b"anonymizer preview" + given.seed.encode()
    bank = Bank(FaceModel.load(registry.resolve("face-model", given.model)), key)
    done, data = cv2.imencode(".png", sheet(bank, given.count, given.size & ~1))
    if not done:
        raise PublishError(f"{given.target}: the picture cannot be written as PNG")
    part = given.target.with_name(f".{given.target.name}.part")
    try:
        part.write_bytes(data.tobytes())
        part.replace(given.target)
    except OSError as error:
        raise PublishError(f"{given.target}: cannot be written ({error.strerror})") from error
    print(f"{given.target}: {given.count} people")
    return 0
