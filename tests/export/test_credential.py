from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.errors import PublishError
from anonymizer.export import credential, package
from anonymizer.export.contents import Video
from anonymizer.record import chain, label
from tests import videos
from tests.export.packages import NOW, START, checked, contents, files, public, signing

c2pa = pytest.importorskip("c2pa", reason="needs the extra c2pa")


def read(path: Path) -> tuple[dict[str, object], list[str]]:
    """The manifest in a file, and the codes of what does not hold."""
    with c2pa.Reader(path) as reader:
        said = json.loads(reader.json())
    codes = [status["code"] for status in said.get("validation_status", [])]
    return said["manifests"][said["active_manifest"]], codes


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}], ids=["plain", "fragmented"])
def test_credentials_name_the_source_and_hold_in_a_package(tmp_path: Path, options: dict[str, str]) -> None:
    video = Video("v.mp4", videos.write(tmp_path / "v.mp4", count=10, **options), "gate", START, START + 1, 10, ())
    before = video.path.read_bytes()
    whole = contents(tmp_path)
    key = signing(tmp_path / "state")
    (tmp_path / "copies").mkdir()
    copies = credential.credited((video,), tmp_path / "copies", key, "Mill Lane Ltd", NOW)
    assert video.path.read_bytes() == before and [path.name for path in (tmp_path / "copies").iterdir()] == ["v.mp4"]
    whole = contents(tmp_path, videos=copies)
    package.write(tmp_path / "p.zip", whole, key, NOW)
    data = (tmp_path / "p.zip").read_bytes()
    assert checked(data, public(tmp_path)).outcome == "valid"
    out = tmp_path / "out.mp4"
    out.write_bytes(files(data)["videos/v.mp4"])
    said, codes = read(out)
    assert codes == ["signingCredential.untrusted"], "nothing but that no authority vouches for the signer"
    assert label.SOURCE_TYPE in json.dumps(said["assertions"])
    assert out.read_bytes().count(b"<?xpacket begin") == 1
    with av.open(str(out)) as shown:
        assert sum(1 for _ in shown.decode(video=0)) == 10
    changed = bytearray(out.read_bytes())
    changed[changed.index(b"mdat") + 40] ^= 1
    out.write_bytes(changed)
    assert "assertion.bmffHash.mismatch" in read(out)[1]


def test_the_certificate_is_for_the_packages_key() -> None:
    key = Ed25519PrivateKey.generate()
    leaf, above = x509.load_pem_x509_certificates(credential.certificates(key, "M" * 100, NOW).encode())
    assert chain.public_text(leaf.public_key()) == chain.public_text(key)  # type: ignore[arg-type]
    leaf.verify_directly_issued_by(above)
    assert chain.public_text(above.public_key()) != chain.public_text(key)  # type: ignore[arg-type]


def test_what_is_no_video_gets_none(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"What is this?")
    video = Video("v.mp4", tmp_path / "v.mp4", "gate", START, START + 1, 10, ())
    (tmp_path / "copies").mkdir()
    with pytest.raises(PublishError, match=r"v\.mp4"):
        credential.credited((video,), tmp_path / "copies", Ed25519PrivateKey.generate(), "Mill Lane Ltd", NOW)
    assert not list((tmp_path / "copies").iterdir())
