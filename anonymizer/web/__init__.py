"""HTTP: stills and states for those who may watch, health and metrics for those who run it."""

from anonymizer.web.server import HttpServer, Proxy, View
from anonymizer.web.settings import HttpSettings

__all__ = ["HttpServer", "HttpSettings", "Proxy", "View"]
