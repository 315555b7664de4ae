"""OpenSSL as a timestamp authority (RFC 3161) that answers over HTTP."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIG = """
[tsa]
dir = .
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
"""


class Authority:
    """Answers over HTTP. mend: what becomes of an answer before it is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mend: Callable[[bytes], bytes] = lambda answer: answer
        self.asked: list[bytes] = []
        folder.mkdir()
        (folder / "ts.cnf").write_text(CONFIG)
        (folder / "serial").write_text("01\n")
        (folder / "ca.ext").write_text("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n")
        (folder / "tsa.ext").write_text("extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n")
        for name, issuer in (("ca", "-signkey ca.key"), ("tsa", "-CA ca.pem -CAkey ca.key -CAcreateserial")):
            self._openssl(
                "genpkey", *["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "-out", f"{name}.key"
            )
            self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
            command = f"x509 -req -in {name}.csr -days 3650 -extfile {name}.ext -out {name}.pem {issuer}"
            self._openssl(*command.split())
        self.root = folder / "ca.pem"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def answer(self, query: bytes) -> bytes:
        self.asked.append(query)
        (self.folder / "query").write_bytes(query)
        self._openssl("ts", "-reply", "-config", "ts.cnf", "-section", "tsa", "-queryfile", "query", "-out", "answer")
        return self.mend((self.folder / "answer").read_bytes())


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Authority, str]]:
    """An authority whose files lie in a new folder, and its URL."""
    authority = Authority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield authority, f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
