"""HTTP: stills and states for those who may watch, health and metrics for those who run it.

The server is imported from ``web.server`` by who serves: its libraries would cost every worker 20 MB.
"""

from anonymizer.web.settings import HttpSettings

__all__ = ["HttpSettings"]
