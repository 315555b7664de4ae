from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.publish import digest
from anonymizer.publish.digest import REALM, Guesses, Nonces, User, Verdict, check

USERS = [User("anna", "first"), User("anna", "second"), User("ben", "third"), User("nobody", "")]


def judge(header, method="PLAY", users=USERS, good=("n",), target="rtsp://h/gate", algorithms=("MD5",), basic=False):
    return check(
        header,
        method,
        users,
        fresh=lambda nonce: nonce in good,
        same_target=lambda uri: uri == target,
        algorithms=algorithms,
        basic=basic,
    )


def header(tools, password="second", algorithm="MD5", method="PLAY", uri="rtsp://h/gate", user="anna", **changed):
    client = object.__new__(tools.Client)
    client.user, client.password, client.algorithm, client.nonce = user, password, algorithm, "n"
    return client.authorization(method, uri, **changed)


def test_rfc_2617_example():
    given = digest.parse_parameters(
        'username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
        'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    realm, digest.REALM = digest.REALM, "testrealm@host.com"
    try:
        assert digest._response(b"Circle Of Life", "MD5", "GET", given) == given["response"]
    finally:
        digest.REALM = realm


def test_rfc_7616_example():
    given = digest.parse_parameters(
        'username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, qop=auth, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"'
    )
    realm, digest.REALM = digest.REALM, "http-auth@example.org"
    try:
        assert digest._response(b"Circle of Life", "SHA-256", "GET", given) == given["response"]
    finally:
        digest.REALM = realm


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_right_password(tools, algorithm):
    assert judge(header(tools, algorithm=algorithm), algorithms=[algorithm]) == (Verdict.GRANTED, "anna")
    assert judge(header(tools, "first", algorithm), algorithms=[algorithm]) == (Verdict.GRANTED, "anna")


def test_an_expired_nonce_is_stale_only_if_the_password_is_right(tools):
    assert judge(header(tools), good=())[0] is Verdict.STALE
    assert judge(header(tools, "guess"), good=())[0] is Verdict.WRONG


def test_what_is_wrong(tools):
    wrong = {
        "password": header(tools, "third"),
        "user": header(tools, user="carl"),
        "empty password": header(tools, "", user="nobody"),
        "method": header(tools, method="DESCRIBE"),
        "uri": header(tools, uri="rtsp://h/yard"),
        "algorithm not offered": header(tools, algorithm="SHA-256"),
        "realm": header(tools, realm="other"),
        "empty response": header(tools, response=""),
        "qop": header(tools, qop="auth-int"),
        "twice": header(tools) + ', username="ben"',
        "cut off": header(tools)[:40],
        "other scheme": "Bearer abc",
        "no UTF-8 in the user": header(tools).replace("anna", "anna\udcff"),
        "no UTF-8 in the response": header(tools, response="\udcff"),
    }
    assert {name: judge(each)[0] for name, each in wrong.items()} == dict.fromkeys(wrong, Verdict.WRONG)


def test_nothing_sent():
    assert judge(None) == (Verdict.ABSENT, "")


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def test_basic_only_where_it_is_accepted():
    assert judge(basic("anna:second"), basic=True) == (Verdict.GRANTED, "anna")
    assert judge(basic("anna:second")) == (Verdict.ABSENT, "")
    for bad in ("anna:third", "carl:second", "nobody:", "anna", "an\nna:second"):
        assert judge(basic(bad), basic=True)[0] is Verdict.WRONG
    assert judge("Basic ???", basic=True)[0] is Verdict.WRONG


@given(st.text(max_size=120))
def test_any_header_is_judged(text):
    for scheme in ("", "Digest ", "Basic "):
        assert judge(scheme + text, basic=True)[0] is Verdict.WRONG


def test_passwords_do_not_show():
    assert "second" not in repr(USERS)


def test_challenges():
    assert digest.challenges(["SHA-256", "MD5"], "n", stale=True, basic=True) == [
        f'Digest realm="{REALM}", nonce="n", algorithm=SHA-256, stale=TRUE',
        f'Digest realm="{REALM}", nonce="n", stale=TRUE',
        f'Basic realm="{REALM}"',
    ]


class TestNonces:
    def test_live_for_a_while_for_one_address_of_one_server(self):
        nonces, other = Nonces(b"key", 60), Nonces(b"other", 60)
        nonce = nonces.issue(1000.0, "192.0.2.1")
        assert nonces.fresh(nonce, 1059.0, "192.0.2.1")
        assert not nonces.fresh(nonce, 1061.0, "192.0.2.1")
        assert not nonces.fresh(nonce, 1001.0, "192.0.2.2")
        assert not other.fresh(nonce, 1001.0, "192.0.2.1")

    @given(st.text(max_size=60))
    def test_forged_ones_are_not_fresh(self, nonce):
        assert not Nonces(b"key", 60).fresh(nonce, 0.0, "192.0.2.1")

    def test_a_younger_stamp_breaks_the_seal(self):
        nonces = Nonces(b"key", 60)
        nonce, later = nonces.issue(1000.0, "a"), nonces.issue(2000.0, "a")
        assert not nonces.fresh(later[:13] + nonce[13:], 2000.0, "a")


class TestGuesses:
    def test_limit_and_wait(self):
        guesses = Guesses(3, 60)
        for now in (0, 10, 20):
            assert guesses.wait("192.0.2.1", now) == 0
            guesses.wrong("192.0.2.1", now)
        assert guesses.wait("192.0.2.1", 20) == 40
        assert guesses.wait("192.0.2.1", 60) == 0
        assert guesses.wait("192.0.2.2", 20) == 0
        guesses.wrong("192.0.2.1", 61)
        assert guesses.wait("192.0.2.1", 61) == 9  # the guess at 10 still counts

    def test_an_ipv6_network_counts_as_one_and_mapped_ipv4_as_ipv4(self):
        guesses = Guesses(1, 60)
        guesses.wrong("2001:db8::1", 0)
        assert guesses.wait("2001:db8::ffff:2", 1) == 59
        assert guesses.wait("2001:db8:0:1::1", 1) == 0
        guesses.wrong("::ffff:192.0.2.1", 0)
        assert guesses.wait("192.0.2.1", 1) == 59
        guesses.wrong("fe80::1%eth0", 0)
        assert guesses.wait("fe80::2%eth0", 1) == 59

    def test_remembers_a_bounded_number_of_addresses(self):
        guesses = Guesses(1, 60, addresses=10)
        for index in range(1000):
            guesses.wrong(f"192.0.{index // 256}.{index % 256}", 0)
        assert guesses.wait("192.0.3.231", 1) > 0
        assert guesses.wait("192.0.0.0", 1) == 0
        assert len(guesses._wrong) == 10
