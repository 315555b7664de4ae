"""A certificate that was renewed is served after SIGHUP, without a restart."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

from tests.certificates import sign
from tests.live.rig import Proxy, free_port, wait_for


def test_a_renewed_certificate_is_served_after_a_reload(tmp_path: Path) -> None:
    certificate, key = sign(tmp_path)
    (tmp_path / "http").mkdir()
    https = sign(tmp_path / "http")
    port, http_port = free_port(), free_port()
    listening = {"host": "127.0.0.1", "port": free_port(), "udp_port": 0, "auth": "none", "tls_port": port}
    proxy = Proxy(
        tmp_path,
        cameras={"gate": {"source": {"url": f"rtsp://127.0.0.1:{free_port()}/gate"}}},
        rtsp={**listening, "tls": "optional", "certificate": certificate, "private_key": key},
        http={
            "host": "127.0.0.1", "port": http_port, "auth": "none",
            "tls": True, "certificate": https[0], "private_key": https[1],
        },
    )  # fmt: skip

    def served() -> str:
        return ssl.get_server_certificate(("127.0.0.1", port)).strip()

    try:
        first = Path(certificate).read_text().strip()
        assert served() == first
        sign(tmp_path)
        second = Path(certificate).read_text().strip()
        assert served() == first != second
        proxy.process.send_signal(signal.SIGHUP)
        wait_for("the new certificate", lambda: served() == second, 10)
        Path(certificate).write_text("broken")
        proxy.process.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: "nothing is changed" in proxy.log.read_text(), 10)
        assert served() == second

        Path(certificate).write_text(second)
        sign(tmp_path)
        Path(https[0]).write_text("broken too")
        proxy.process.send_signal(signal.SIGHUP)
        wait_for("the complaint", lambda: proxy.log.read_text().count("nothing is changed") == 2, 10)
        assert served() == second
    finally:
        proxy.stop()
