"""Serving: access units fan out, RTSP clients play them.

A ``Stream`` takes a camera's access units; a ``Server`` serves mounted streams. Beside them stand the encoder that
makes access units and the stills.
"""

from anonymizer.publish.access_unit import AccessUnit, AudioParameters, Codec, VideoParameters
from anonymizer.publish.digest import User
from anonymizer.publish.server import AccessEvent, Client, Server
from anonymizer.publish.settings import RtspSettings
from anonymizer.publish.stream import Sink, Stream

__all__ = [
    "AccessEvent",
    "AccessUnit",
    "AudioParameters",
    "Client",
    "Codec",
    "RtspSettings",
    "Server",
    "Sink",
    "Stream",
    "User",
    "VideoParameters",
]
