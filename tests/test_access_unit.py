from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.access_unit import Codec, nal_type, parameter_sets, split

# A NAL unit holds no start code and no zero at its end (H.264 7.4.1).
nals = st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\0", b"\x03") + b"\x80")


@given(st.lists(st.tuples(st.sampled_from([b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\1"]), nals), max_size=8))
def test_split_undoes_annex_b(parts):
    assert split(b"".join(code + nal for code, nal in parts)) == [nal for _, nal in parts]


@given(st.binary(max_size=200))
def test_split_takes_any_bytes(data):
    assert all(split(data))


def test_bytes_before_the_first_start_code_are_no_nal():
    assert split(b"junk\0\0\1\x65abc") == [b"\x65abc"]
    assert split(b"junk") == split(b"") == []


@pytest.mark.parametrize(
    ("codec", "given", "complete"),
    [
        (Codec.H264, [b"\x67abc", b"\x68abc", b"\x65abc"], True),
        (Codec.H264, [b"\x67abc", b"\x65abc"], False),
        (Codec.H264, [b"\x67", b"\x68abc"], False),  # an SPS cut off before its profile
        (Codec.H265, [b"\x40\x01ab", b"\x42\x01ab", b"\x44\x01ab"], True),
        (Codec.H265, [b"\x42\x01ab", b"\x44\x01ab"], False),
    ],
)
def test_parameter_sets_are_complete_or_none(codec, given, complete):
    sets = parameter_sets(codec, given)
    assert (sets is not None) == complete
    if sets is not None:
        assert sets == tuple(nal for nal in given if nal_type(codec, nal) in (7, 8, 32, 33, 34))
