"""What is told and what is heard over MQTT: events of tracks, states of cameras, commands.

``TrackLog`` runs in a camera's worker; ``Topics`` and ``client.MqttClient`` in the service. The client is not imported
here, because its library would cost every worker 8 MB.
"""

from anonymizer.events.settings import HomeAssistantSettings, MqttSettings
from anonymizer.events.state import CameraCounters, CameraState
from anonymizer.events.topics import Command, CommandError, Delivery, Message, Topics
from anonymizer.events.tracks import TrackEvent, TrackLog, TrackState, zones_of

__all__ = [
    "CameraCounters",
    "CameraState",
    "Command",
    "CommandError",
    "Delivery",
    "HomeAssistantSettings",
    "Message",
    "MqttSettings",
    "Topics",
    "TrackEvent",
    "TrackLog",
    "TrackState",
    "zones_of",
]
