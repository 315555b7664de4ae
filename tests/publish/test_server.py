"""The server's answers, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import time
from base64 import b64encode
from pathlib import Path

import pytest

from anonymizer.access_unit import AudioParameters, Codec
from anonymizer.errors import ConfigError, PublishError
from anonymizer.publish import RtspSettings, Stream, User
from anonymizer.publish.server import Server
from anonymizer.settings import Wrong
from tests.certificates import sign

TCP = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}


def wait_for(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def client(tools):
    opened = []

    def connect(serving, **how):
        opened.append(tools.Client(serving.port, **how))
        return opened[-1]

    yield connect
    for each in opened:
        each.socket.close()


def sequence(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")


class TestConfiguration:
    def test_without_users_it_refuses_unless_told_to_let_everyone_in(self):
        with pytest.raises(ConfigError, match=r"no users.*auth: none"):
            Server(RtspSettings()).mount("gate", Stream("gate"))
        Server(RtspSettings(auth="none")).mount("gate", Stream("gate"))

    @pytest.mark.parametrize("user", [User("", "x"), User("a:b", "x"), User("a", ""), User("a\nb", "x")])
    def test_unusable_users(self, user):
        with pytest.raises(ConfigError, match="name without ':' and a password"):
            Server(RtspSettings()).mount("gate", Stream("gate"), [user])

    @pytest.mark.parametrize("path", ["", "/gate", "gate/", "gate/trackID=0", "a?b", "a%20b", "*"])
    def test_unusable_paths(self, tools, path):
        with pytest.raises(ConfigError, match="cannot be served at the path"):
            Server(RtspSettings()).mount(path, Stream("x"), tools.users)

    @pytest.mark.parametrize(("wrong", "why"), [({"udp_port": 8001}, "8000 and 8001"), ({"tls": "required"}, "needs")])
    def test_settings_that_contradict_each_other(self, wrong, why):
        with pytest.raises(Wrong, match=why):
            RtspSettings(**wrong)

    def test_a_port_in_use_and_a_bad_certificate_are_told(self, serve, tmp_path):
        taken = serve(filmed=False).port

        def start(**settings):
            server = Server(RtspSettings(host="127.0.0.1", **({"port": 0, "udp_port": 0} | settings)))
            asyncio.run(server.start())

        with pytest.raises(PublishError, match=f"cannot listen on 127.0.0.1:{taken}.*set another port"):
            start(port=taken)
        with socket.socket(type=socket.SOCK_DGRAM) as busy:
            busy.bind(("127.0.0.1", 0))
            even = busy.getsockname()[1] & ~1
            with pytest.raises(PublishError, match=f"no pair of UDP ports at 127.0.0.1:{even}"):
                start(udp_port=even)
        (tmp_path / "x.pem").write_text("nonsense")
        with pytest.raises(ConfigError, match=r"certificate .*x\.pem"):
            start(tls="optional", certificate=str(tmp_path / "x.pem"), private_key=str(tmp_path / "x.pem"))
        with pytest.raises(ConfigError, match="no address of this machine"):
            asyncio.run(Server(RtspSettings(host="no host")).start())


class TestRequests:
    def test_a_session_from_options_to_teardown(self, serve, client):
        one = client(serve())
        methods = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
        assert one.ask("OPTIONS")["Public"] == methods
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        description = one.ask("DESCRIBE")
        assert description["Content-Type"] == "application/sdp"
        assert description["Content-Base"] == one.base + "/"
        assert b"a=rtpmap:96 H264/90000" in description.body
        setup = one.ask("SETUP", f"{one.base}/trackID=0", TCP)
        one.session, _, timeout = setup["Session"].partition(";")
        assert timeout == "timeout=60"
        assert setup["Transport"].startswith("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=")
        play = one.ask("PLAY", one.base + "/", {"Range": "npt=0-"})
        assert play.status == 200 and play["Range"] == "npt=now-"
        assert play["RTP-Info"].startswith(f"url={one.base}/trackID=0")
        channel, report = one.frame()
        assert channel == 1 and report[1] == 200
        channel, packet = one.frame()
        assert channel == 0 and packet[8:12].hex().upper() == setup["Transport"].rpartition("ssrc=")[2]
        assert one.ask("GET_PARAMETER").status == 200
        assert one.ask("SET_PARAMETER", body="volume: 3\r\n").status == 451
        assert one.ask("PAUSE").status == 200
        one.frames.clear()
        time.sleep(0.2)
        assert one.ask("OPTIONS").status == 200 and not one.frames
        assert one.ask("PLAY").status == 200
        one.frame()
        assert one.ask("TEARDOWN").status == 200
        assert one.ask("PLAY").status == 454
        one.session = ""
        assert one.ask("SETUP", f"{one.base}/trackID=0", TCP).status == 200

    def test_what_is_refused(self, serve, client):
        serving = serve()
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        track = f"{one.base}/trackID=0"
        assert one.ask("DESCRIBE", headers={"Accept": "text/html"}).status == 406
        assert one.ask("RECORD").status == 501
        assert one.ask("PLAY", headers={"Require": "onvif-replay"})["Unsupported"] == "onvif-replay"
        assert one.ask("PLAY").status == 454
        assert one.ask("SETUP", track, TCP | {"Session": "made-up"}).status == 454
        assert one.ask("GET_PARAMETER", headers={"Session": "made-up"}).status == 454
        assert one.ask("SETUP", f"{one.base}/trackID=1", TCP).status == 404
        for transport in ("RTP/AVP;multicast", "RTP/SAVP;unicast;client_port=5000-5001", "nonsense", ""):
            assert one.ask("SETUP", track, {"Transport": transport}).status == 461
        assert one.ask("SETUP", track, TCP).status == 200
        assert one.ask("PLAY", headers={"Session": "made-up"}).status == 454
        one.play()
        assert one.ask("SETUP", track, TCP).status == 455
        assert serving.server.counters.protocol_errors == 0

    def test_one_session_takes_one_kind_of_transport_and_distinct_channels(self, serve, client):
        serving = serve(paths={"gate": Stream("gate", audio=AudioParameters(Codec.PCMU, 8000))})
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        assert one.ask("SETUP", one.base, TCP).status == 459
        assert one.ask("SETUP", f"{one.base}/trackID=0", TCP).status == 200
        for transport in ("RTP/AVP/TCP;interleaved=1-2", "RTP/AVP;unicast;client_port=5000-5001"):
            assert one.ask("SETUP", f"{one.base}/trackID=1", {"Transport": transport}).status == 461
        answer = one.ask("SETUP", f"{one.base}/trackID=1", {"Transport": "RTP/AVP/TCP;unicast"})
        assert "interleaved=2-3" in answer["Transport"]

    def test_no_description_before_the_first_key_frame(self, serve, client, tools):
        serving = serve(filmed=False)
        one = client(serving)
        answer = one.ask("DESCRIBE")
        assert answer.status == 503 and answer["Retry-After"] == "1"
        assert one.ask("SETUP", f"{one.base}/trackID=0", TCP).status == 503
        stream = serving.streams["gate"]
        serving.do(lambda: stream.publish(tools.Encoder().next(0, 0)))
        assert one.ask("DESCRIBE").status == 200

    @pytest.mark.parametrize(
        "data", [b"GET / HTTP/1.1\r\n\r\n", b"$\x00\x00\x01x", b"\x16\x03\x01\r\n\r\n", b"a" * 9000]
    )
    def test_what_is_no_rtsp_ends_the_connection(self, serve, client, data):
        serving = serve(filmed=False)
        one = client(serving)
        one.socket.sendall(data)
        assert one.answer().status in (400, 413)
        assert one.closed()
        assert serving.server.counters.protocol_errors == 1


class TestPasswords:
    def test_wrong_and_right(self, serve, client):
        serving = serve()
        assert client(serving, password="guess").ask("DESCRIBE").status == 401
        assert client(serving, user="nobody").ask("DESCRIBE").status == 401
        wait_for(lambda: client(serving).ask("DESCRIBE").status == 200)
        assert serving.server.counters.wrong_passwords == 2
        assert [(event.kind, event.user, event.path) for event in serving.events] == [
            ("refused", "viewer", "gate"),
            ("refused", "nobody", "gate"),
            *[("accepted", "viewer", "gate")] * (len(serving.events) - 2),
        ]

    def test_paths_are_not_told_to_strangers(self, serve, client):
        serving = serve(filmed=False)
        assert client(serving, path="yard").ask("DESCRIBE").status == 404
        assert client(serving, path="yard", password="guess").ask("DESCRIBE").status == 401
        assert client(serving, path="yard").ask("OPTIONS").status == 200

    def test_a_user_of_one_camera_does_not_see_another(self, serve, client):
        serving = serve(filmed=False)
        serving.do(lambda: serving.server.mount("yard", Stream("yard"), [User("guard", "x")]))
        assert client(serving, path="yard").ask("DESCRIBE").status == 404
        assert client(serving, path="yard", user="guard", password="x").ask("DESCRIBE").status == 503
        assert serving.server.counters.wrong_passwords == 0
        assert [(event.kind, event.path) for event in serving.events] == [("refused", "yard"), ("accepted", "yard")]

    def test_every_request_needs_the_password(self, serve, client):
        one = client(serve())
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        nonce, one.nonce = one.nonce, ""
        one.send("SETUP", f"{one.base}/trackID=0", TCP)
        assert one.answer().status == 401
        one.nonce = nonce
        one.send("SETUP", headers={"Authorization": one.authorization("SETUP", one.base.replace("gate", "yard"))} | TCP)
        assert one.answer().status == 401

    def test_basic_is_refused_in_the_clear_unless_asked_for(self, serve, client, tools):
        right = {"Authorization": "Basic " + b64encode(f"viewer:{tools.users[0].password}".encode()).decode()}
        one = client(serve(filmed=False))
        one.send("DESCRIBE", headers=right)
        answer = one.answer()
        assert answer.status == 401
        assert [offer.split()[0] for offer in answer.headers["www-authenticate"]] == ["Digest"]
        two = client(serve(filmed=False, auth="basic"))
        two.send("DESCRIBE", headers=right)
        assert two.answer().status == 503
        two.send("DESCRIBE", headers={"Authorization": "Basic " + b64encode(b"viewer:guess").decode()})
        answer = two.answer()
        assert answer.status == 401
        assert [offer.split()[0] for offer in answer.headers["www-authenticate"]] == ["Digest", "Basic"]

    def test_sha_256(self, serve, client):
        serving = serve(filmed=False, digest=("SHA-256", "MD5"))
        assert client(serving, algorithm="SHA-256").ask("DESCRIBE").status == 503
        assert client(serving, algorithm="MD5").ask("DESCRIBE").status == 503
        assert client(serve(filmed=False), algorithm="SHA-256").ask("DESCRIBE").status == 401

    def test_an_old_nonce_is_stale_but_that_of_a_login_holds(self, serve, client):
        serving = serve(filmed=False, nonce_life=1.0)
        one, two = client(serving), client(serving)
        assert one.ask("DESCRIBE").status == 503
        two.send("DESCRIBE")
        offer = two.answer()["WWW-Authenticate"]
        two.nonce = offer.partition('nonce="')[2].partition('"')[0]
        time.sleep(1.1)
        assert one.ask("DESCRIBE").status == 503
        answer = two.ask("DESCRIBE")
        assert answer.status == 401 and "stale=TRUE" in answer["WWW-Authenticate"]
        two.nonce = ""
        assert two.ask("DESCRIBE").status == 503
        assert serving.server.counters.wrong_passwords == 0

    def test_guesses_are_limited_by_address_and_do_not_disturb_who_is_in(self, serve, client):
        serving = serve(guesses=3, guess_window=1.0)
        inside, outside = client(serving), client(serving, password="guess")
        wait_for(lambda: inside.ask("DESCRIBE").status == 200)
        inside.play()
        statuses = [outside.ask("DESCRIBE").status for _ in range(3)]
        assert statuses == [401, 401, 403]
        assert outside.closed()
        late = client(serving)
        answer = late.ask("DESCRIBE")
        assert answer.status == 403 and answer["Retry-After"] in ("1", "2")
        assert late.closed()
        assert inside.ask("GET_PARAMETER").status == 200
        assert serving.server.counters.blocked == 2
        blocked = [(event.address, event.path) for event in serving.events if event.kind == "blocked"]
        assert blocked == [("127.0.0.1", "")], "told once"
        time.sleep(1.0)
        assert client(serving).ask("DESCRIBE").status == 200

    def test_auth_none_lets_everyone_in(self, serve, client):
        serving = serve(auth="none", users=(), filmed=False)
        one = client(serving)
        one.send("DESCRIBE")
        assert one.answer().status == 503
        assert one.ask("DESCRIBE", one.base.replace("gate", "yard")).status == 404

    def test_an_audit_that_fails_does_not_end_the_video(self, serve, client, caplog):
        serving = serve()

        def fail(event):
            raise OSError("disk full")

        serving.server._audit = fail
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        one.play()
        assert "the audit failed at 'accepted' of 127.0.0.1" in caplog.text

    def test_watching_is_audited(self, serve, client):
        serving = serve()
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        one.play()
        one.socket.close()
        wait_for(lambda: serving.events[-1].kind == "stop")
        assert [event.kind for event in serving.events] == ["accepted", "play", "stop"]
        assert {event.address for event in serving.events} == {"127.0.0.1"}


class TestTls:
    @pytest.fixture
    def secret(self, serve, certificate):
        return serve(tls="required", certificate=certificate[0], private_key=certificate[1])

    @pytest.fixture
    def trusting(self, certificate):
        context = ssl.create_default_context(cafile=certificate[0])
        return lambda plain: context.wrap_socket(plain, server_hostname="127.0.0.1")

    def test_media_over_tls_and_never_over_udp(self, secret, trusting, tools):
        assert secret.server.port is None and secret.server.udp is None
        with tools.Client(secret.server.tls_port, wrap=trusting) as one:
            wait_for(lambda: one.ask("DESCRIBE").status == 200)
            udp = {"Transport": "RTP/AVP;unicast;client_port=5000-5001"}
            assert one.ask("SETUP", f"{one.base}/trackID=0", udp).status == 461
            one.play()
            assert one.frame()[0] == 1 and one.frame()[0] == 0

    def test_basic_is_accepted_over_tls(self, secret, trusting, tools):
        with tools.Client(secret.server.tls_port, wrap=trusting) as one:
            right = "Basic " + b64encode(f"viewer:{tools.users[0].password}".encode()).decode()
            one.send("GET_PARAMETER", headers={"Authorization": right})
            assert one.answer().status == 200

    def test_a_handshake_that_does_not_come_frees_its_place(self, serve, certificate):
        serving = serve(
            filmed=False, tls="required", certificate=certificate[0], private_key=certificate[1], login_timeout=0.5
        )
        silent = socket.create_connection(("127.0.0.1", serving.server.tls_port))
        noisy = socket.create_connection(("127.0.0.1", serving.server.tls_port))
        noisy.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        wait_for(lambda: serving.server.counters.connections == 2)
        wait_for(lambda: serving.server._open == 0)
        silent.close()
        noisy.close()

    def test_a_renewed_certificate_is_read(self, serve, tools, tmp_path):
        certificate, key = sign(tmp_path)
        old = ssl.create_default_context(cafile=certificate)
        serving = serve(tls="required", certificate=certificate, private_key=key)
        sign(tmp_path)
        new = ssl.create_default_context(cafile=certificate)

        def ask(trusting: ssl.SSLContext) -> int:
            def wrap(plain):
                return trusting.wrap_socket(plain, server_hostname="127.0.0.1")

            with tools.Client(serving.server.tls_port, wrap=wrap) as one:
                return one.ask("OPTIONS").status

        assert ask(old) == 200
        serving.do(serving.server.reload_certificate)
        assert ask(new) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(old)
        Path(certificate).write_text("broken")
        with pytest.raises(ConfigError, match="cannot be used"):
            serving.do(serving.server.reload_certificate)
        assert ask(new) == 200


class TestLimits:
    def test_connections(self, serve, client):
        serving = serve(filmed=False, connections=2)
        first, second = client(serving), client(serving)
        assert first.ask("OPTIONS").status == second.ask("OPTIONS").status == 200
        third = client(serving)
        assert third.answer().status == 503 and third.closed()
        assert serving.server.counters.connections_refused == 1
        first.socket.close()
        wait_for(lambda: serving.server._open == 1)
        assert client(serving).ask("OPTIONS").status == 200

    def test_who_does_not_log_in_is_closed_who_does_is_not(self, serve, client):
        serving = serve(filmed=False, login_timeout=0.5)
        inside, outside = client(serving), client(serving)
        assert inside.ask("DESCRIBE").status == 503
        assert outside.closed(2)
        assert inside.ask("DESCRIBE").status == 503

    def test_an_idle_login_expires(self, serve, client):
        serving = serve(filmed=False, session_timeout=1.0)
        one = client(serving)
        assert one.ask("DESCRIBE").status == 503
        assert one.closed(3)
        assert serving.server.counters.expired == 1

    def test_who_asks_without_reading_the_answers_is_cut(self, serve, client):
        serving = serve(filmed=False, client_buffer=0.0625)
        one = client(serving)
        one.socket.settimeout(5)
        with pytest.raises(ConnectionError):
            one.socket.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 1_000_000)
        assert serving.server.counters.stalled == 1

    def test_nothing_is_left_open(self, serve, client):
        before = len(os.listdir("/proc/self/fd"))
        serving = serve()
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        one.play()
        serving.call(serving.server.stop())
        assert one.closed()
        one.socket.close()
        assert serving.server._open == 0 and not serving.server._connections
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 3  # the loop's own


class TestChanges:
    def test_a_removed_user_and_a_removed_stream_end_with_goodbye(self, serve, client, tools):
        serving = serve()
        stream, extra = serving.streams["gate"], User("guard", "x")
        serving.do(lambda: serving.server.mount("gate", stream, [*tools.users, extra]))
        viewer, guard = client(serving), client(serving, user="guard", password="x")
        for each in (viewer, guard):
            wait_for(lambda each=each: each.ask("DESCRIBE").status == 200)
            each.play()
        serving.do(lambda: serving.server.mount("gate", stream, [User("guard", "x")]))
        assert viewer.closed()
        assert guard.ask("GET_PARAMETER").status == 200
        serving.do(lambda: serving.server.unmount("gate"))
        last = (0, b"")
        with contextlib.suppress(EOFError):
            while True:
                last = guard.frame()
        assert last[0] == 1 and last[1][-8:-4] == b"\x81\xcb\x00\x01"
        assert client(serving).ask("DESCRIBE").status == 401
        assert serving.server.clients() == []

    def test_another_stream_at_the_path_ends_those_of_the_old_one(self, serve, client, tools):
        serving = serve()
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        one.play()
        serving.do(lambda: serving.server.mount("gate", Stream("gate"), tools.users))
        assert one.closed()
        assert client(serving).ask("DESCRIBE").status == 503

    def test_clients_are_listed(self, serve, client):
        serving = serve()
        one = client(serving)
        wait_for(lambda: one.ask("DESCRIBE").status == 200)
        one.play()
        one.frame()
        wait_for(lambda: serving.server.clients()[0].sent > 0)
        (told,) = serving.server.clients()
        assert (told.user, told.address, told.path, told.transport, told.playing) == (
            "viewer",
            "127.0.0.1",
            "gate",
            "tcp",
            True,
        )
