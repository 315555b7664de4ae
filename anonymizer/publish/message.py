"""RTSP/1.0 messages (RFC 2326): requests and interleaved frames to read, responses to write. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from anonymizer.publish.sdp import CONTROL

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    451: "Parameter Not Understood",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ONCE = frozenset({"cseq", "content-length", "session", "authorization"})
_FRAME_MARK = 0x24  # "$"


class ProtocolError(Exception):
    """Bytes that are no RTSP. status: what to answer before the connection is closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """head: bytes of request line and headers; headers: their number; body and frame: bytes."""

    head: int = 8192
    headers: int = 64
    body: int = 8192
    frame: int = 8192


@dataclass(slots=True)
class Request:
    """method and uri as sent; headers by lower-case name."""

    method: str
    uri: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def cseq(self) -> int:
        return int(self.headers["cseq"])


@dataclass(frozen=True, slots=True)
class Frame:
    """An interleaved frame (RFC 2326 10.12)."""

    channel: int
    payload: bytes


class Parser:
    """Cuts a client's byte stream into requests and interleaved frames. Holds at most one unfinished message."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Request | Frame]:
        """The messages that ``data`` completes. Raises ProtocolError; the stream cannot be read on after that."""
        self._buffer += data
        while self._buffer:
            message = self._frame() if self._buffer[0] == _FRAME_MARK else self._request()
            if message is None:
                return
            yield message

    def _frame(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        size = buffer[2] << 8 | buffer[3]
        if size > self._limits.frame:
            raise ProtocolError(413, f"interleaved frame of {size} bytes")
        if len(buffer) < 4 + size:
            return None
        frame = Frame(buffer[1], bytes(buffer[4 : 4 + size]))
        del buffer[: 4 + size]
        return frame

    def _request(self) -> Request | None:
        buffer, limits = self._buffer, self._limits
        while buffer[:2] == b"\r\n":  # left over between messages by some clients (RFC 2326 4.1)
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, limits.head)
        if end < 0:
            if len(buffer) >= limits.head:
                raise ProtocolError(413, f"more than {limits.head} bytes of headers")
            return None
        request = parse_head(bytes(buffer[:end]), limits)
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= 9):
            raise ProtocolError(400, "Content-Length is no number")
        size = int(length)
        if size > limits.body:
            raise ProtocolError(413, f"body of {size} bytes")
        if len(buffer) < end + 4 + size:
            return None
        request.body = bytes(buffer[end + 4 : end + 4 + size])
        del buffer[: end + 4 + size]
        return request


def parse_head(head: bytes, limits: Limits) -> Request:
    """The request line and headers, without the empty line. Raises ProtocolError."""
    try:
        first, *lines = head.decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise ProtocolError(400, "headers are not UTF-8") from error
    parts = first.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _is_uri(parts[1]):
        raise ProtocolError(400, "no request line")
    if parts[2] != "RTSP/1.0":
        raise ProtocolError(505 if parts[2].startswith("RTSP/") else 400, "not RTSP/1.0")
    if len(lines) > limits.headers:
        raise ProtocolError(413, f"{len(lines)} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not _TOKEN.fullmatch(name) or not value.replace("\t", " ").isprintable():
            raise ProtocolError(400, "malformed header")
        if name in headers:
            if name in _ONCE:
                raise ProtocolError(400, f"{name} given twice")
            headers[name] += ", " + value.strip()
        else:
            headers[name] = value.strip()
    cseq = headers.get("cseq", "")
    if not (cseq.isascii() and cseq.isdigit() and len(cseq) <= 10):
        raise ProtocolError(400, "CSeq is missing or no number")
    return Request(parts[0], parts[1], headers)


def response(status: int, cseq: int | None, headers: Mapping[str, str | list[str]], body: bytes = b"") -> bytes:
    """A response; a header given as a list is written once for each of its values."""
    lines = [f"RTSP/1.0 {status} {REASONS[status]}"]
    if cseq is not None:
        lines.append(f"CSeq: {cseq}")
    for name, value in headers.items():
        lines += [f"{name}: {each}" for each in ([value] if isinstance(value, str) else value)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def interleave(channel: int, packet: bytes) -> bytes:
    return bytes((_FRAME_MARK, channel)) + len(packet).to_bytes(2, "big") + packet


def _is_uri(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def locate(uri: str) -> tuple[str, int | None]:
    """The path that a URI names, without scheme, host, query or slashes at its ends, and the track, if it names one.

    ``rtsp://host:8554/gate/sub/trackID=0`` gives ``("gate/sub", 0)``; ``*`` and unprintable paths give
    ``("", None)``.
    """
    rest = uri.partition("://")[2].partition("/")[2] if "://" in uri else uri
    path = unquote(rest.partition("?")[0]).strip("/")
    if path == "*" or not path.isprintable():
        return "", None
    head, _, tail = path.rpartition("/")
    number = tail.removeprefix(CONTROL)
    if number != tail and number.isascii() and number.isdigit() and len(number) < 4:
        return head, int(number)
    return path, None


@dataclass(frozen=True, slots=True)
class Transport:
    """One choice of a client's Transport header. tcp: interleaved; first, second: its channels or UDP ports, or None
    where the client leaves the channels to the server."""

    tcp: bool
    first: int | None = None
    second: int | None = None


def parse_transports(header: str) -> list[Transport]:
    """The choices of a Transport header (RFC 2326 12.39) that are unicast RTP/AVP for playing and complete; in order.

    Where the media goes is never taken from the header but the ports: ``destination`` is ignored, so that nobody can
    aim a stream at a third party.
    """
    found = []
    for choice in header.split(","):
        protocol, *parameters = (part.strip() for part in choice.split(";"))
        named = {key.strip().lower(): value.strip() for key, _, value in (item.partition("=") for item in parameters)}
        tcp = protocol.upper() == "RTP/AVP/TCP"
        if not tcp and protocol.upper() not in ("RTP/AVP", "RTP/AVP/UDP"):
            continue
        if "multicast" in named or named.get("mode", "play").strip('"').lower() != "play":
            continue
        pair = named.get("interleaved" if tcp else "client_port")
        if pair is None:
            if tcp:
                found.append(Transport(True))
            continue
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", pair, re.ASCII)
        if match is None:
            continue
        first = int(match[1])
        second = first + 1 if match[2] is None else int(match[2])
        low, high = (0, 255) if tcp else (1024, 65535)
        if first != second and low <= first <= high and low <= second <= high:
            found.append(Transport(tcp, first, second))
    return found
