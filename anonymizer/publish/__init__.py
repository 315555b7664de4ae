"""Where anonymised pictures go: files and RTSP."""
