"""Serving: access units fan out, RTSP clients play them.

A ``Stream`` takes a camera's access units; ``server.Server``, imported from there by who serves, serves the streams.
Beside them stand the encoders that make access units, and the stills.
"""

from anonymizer.publish.digest import User
from anonymizer.publish.settings import RtspSettings
from anonymizer.publish.stream import Sink, Stream

__all__ = ["RtspSettings", "Sink", "Stream", "User"]
