"""What must hold beyond the form of the configuration: asked by ``config check``, and of each camera at a reload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from anonymizer import assembly, config, registry, yamlfile
from anonymizer.config import CameraSettings, Config
from anonymizer.control import public_key
from anonymizer.errors import AnonymizerError
from anonymizer.publish import User
from anonymizer.publish.listening import tls_context
from anonymizer.publish.server import Server
from anonymizer.settings import MissingSecret
from anonymizer.yamlfile import InvalidFile, Problem

Check = tuple[tuple[str, ...], Callable[[], object]]
"""The keys that lead to a setting, and what raises an AnonymizerError or a ValueError where it will not do."""


def users(camera: CameraSettings) -> tuple[User, ...]:
    """Who may watch. ConfigError where a password is missing."""
    return tuple(User(user, password.reveal()) for user, password in camera.users.items())


def of_camera(settings: Config, name: str, server: Server) -> Iterator[Check]:
    camera = settings.cameras[name]
    at = ("cameras", name)
    yield (*at, "rules") if camera.rules else ("rules",), partial(assembly.rules, camera.rules or settings.rules)
    yield (*at, "source"), camera.source.address
    yield (*at, "users"), lambda: server.check(name, users(camera))


def of_service(settings: Config) -> Iterator[Check]:
    """What no single camera has."""
    faces, mqtt = settings.faces, settings.mqtt
    yield ("rules",), partial(assembly.rules, settings.rules)
    for profile, rules in settings.profiles.items():
        yield ("profiles", profile), partial(assembly.rules, rules)
    yield ("faces", "detector"), partial(registry.resolve, "detector", faces.detector)
    if faces.second_detector:
        yield ("faces", "second_detector"), partial(registry.resolve, "detector", faces.second_detector)
    yield ("faces", "landmarks"), partial(registry.resolve, "landmarks", faces.landmarks)
    yield ("identity", "model"), partial(registry.resolve, "face-model", settings.identity.model)
    yield ("identity", "key"), settings.identity.bank_key
    if settings.rtsp.tls != "off":
        yield ("rtsp", "certificate"), partial(tls_context, "rtsp", settings.rtsp)
    if settings.http.tls:
        yield ("http", "certificate"), partial(tls_context, "http", settings.http)
    if mqtt is not None and mqtt.password is not None:
        yield ("mqtt", "password"), mqtt.password.reveal
    if mqtt is not None and mqtt.relax_key:
        yield ("mqtt", "relax_key"), partial(public_key, mqtt.relax_key)


def check(path: Path) -> tuple[Config, list[Problem]]:
    """The configuration in a file, and which secrets are not there, which may be the service's alone to have.

    InvalidFile with everything else that is wrong.
    """
    settings, written = config.load(path), yamlfile.read(path)
    server = Server(settings.rtsp)
    wrong: dict[str, Problem] = {}
    missing: dict[str, Problem] = {}
    cameras = (check for name in settings.cameras for check in of_camera(settings, name, server))
    for keys, attempt in (*of_service(settings), *cameras):
        node = written
        for key in keys:
            node = node.child(key) or node
        try:
            attempt()
        except MissingSecret as error:
            missing.setdefault(str(error), Problem(node.mark, str(error)))
        except (AnonymizerError, ValueError) as error:
            wrong.setdefault(str(error), Problem(node.mark, str(error)))
    if wrong:
        raise InvalidFile(list(wrong.values()))
    return settings, list(missing.values())
