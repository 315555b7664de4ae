"""What gst-launch-1.0 says at its end that is no fault of the server."""

from __future__ import annotations

import re

# At the end of a stream gst-launch-1.0 sends PAUSE and, without waiting, TEARDOWN, which interrupts it: about once in a
# hundred runs PAUSE never leaves the client and rtspsrc says so, although TEARDOWN is answered on the same connection.
_INTERRUPTED_PAUSE = re.compile(
    r"ERROR: from element \S+rtspsrc\d+: Could not write to resource\.\n"
    r"Additional debug info:\n"
    r"\S+: gst_rtspsrc_(?:try_send|pause) \(\): \S+rtspsrc\d+:\n"
    r"Could not send message\. \(Received end-of-file\)\n"
)


def without_interrupted_pause(returncode: int, said: str) -> tuple[int, str]:
    """A player's exit status and messages: 0 and what else was said where only its own PAUSE was interrupted."""
    rest = _INTERRUPTED_PAUSE.sub("", said)
    paused = "gst_rtspsrc_pause" in said and "gst_rtspsrc_pause" not in rest
    return (0, rest) if paused else (returncode, said)
