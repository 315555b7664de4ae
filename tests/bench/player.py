"""A player that takes a stream's packets, as ffmpeg does, and decodes none."""

from __future__ import annotations

import subprocess


def player(url: str) -> subprocess.Popen[bytes]:
    """ffmpeg, which reads the stream over TCP until it is killed."""
    command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "null", "-"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)
