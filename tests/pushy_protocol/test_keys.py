"""Keys: read in every form that Chef stores, refused with a reason in every other, and written for their owner only."""

import os
import stat
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from pushy_protocol.keys import (
    CurveKeyPair,
    KeyFormatError,
    check_curve_key,
    make_rsa_key,
    parse_private_key,
    parse_public_key,
    private_pem,
    public_pem,
    write_private,
)
from tests.pushy_protocol.vectors import load, vector_key

PEM = serialization.Encoding.PEM
PRIVATE = serialization.PrivateFormat
PUBLIC = serialization.PublicFormat
PLAIN = serialization.NoEncryption()
PASSWORD = serialization.BestAvailableEncryption(b"secret")

EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def certificate(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    start = datetime(2026, 1, 31, tzinfo=UTC)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
        .sign(key, algorithm)
        .public_bytes(PEM)
    )


class TestRsa:
    def test_a_new_key_has_2048_bits(self) -> None:
        assert make_rsa_key().key_size == 2048

    def test_private_keys_are_written_as_pkcs1(self) -> None:
        assert private_pem(vector_key()).decode() == load("http_signing")["private_key"]

    def test_public_keys_are_written_as_subject_public_key_info(self) -> None:
        assert public_pem(vector_key().public_key()) == load("http_signing")["public_key"]

    @pytest.mark.parametrize("form", [PRIVATE.TraditionalOpenSSL, PRIVATE.PKCS8])
    def test_private_keys_are_read(self, form: serialization.PrivateFormat) -> None:
        read = parse_private_key(vector_key().private_bytes(PEM, form, PLAIN))
        assert read.private_numbers() == vector_key().private_numbers()

    @pytest.mark.parametrize("form", [PUBLIC.PKCS1, PUBLIC.SubjectPublicKeyInfo])
    def test_public_keys_are_read(self, form: serialization.PublicFormat) -> None:
        assert parse_public_key(vector_key().public_key().public_bytes(PEM, form)) == vector_key().public_key()

    def test_a_certificate_is_read_for_its_public_key(self) -> None:
        assert parse_public_key(certificate(vector_key())) == vector_key().public_key()

    @pytest.mark.parametrize(
        ("pem", "reason"),
        [
            (vector_key().private_bytes(PEM, PRIVATE.TraditionalOpenSSL, PASSWORD), "unencrypted"),
            (vector_key().private_bytes(PEM, PRIVATE.PKCS8, PASSWORD), "unencrypted"),
            (EC_KEY.private_bytes(PEM, PRIVATE.PKCS8, PLAIN), "another kind"),
            (ED_KEY.private_bytes(PEM, PRIVATE.PKCS8, PLAIN), "another kind"),
            (public_pem(vector_key().public_key()).encode(), "RSA private key in PEM"),
            (certificate(vector_key()), "RSA private key in PEM"),
            (private_pem(vector_key())[:500], "RSA private key in PEM"),
            (b"", "RSA private key in PEM"),
        ],
    )
    def test_private_keys_that_are_none(self, pem: bytes, reason: str) -> None:
        with pytest.raises(KeyFormatError, match=reason) as caught:
            parse_private_key(pem)
        assert "expected an" in str(caught.value)

    @pytest.mark.parametrize(
        ("pem", "reason"),
        [
            (EC_KEY.public_key().public_bytes(PEM, PUBLIC.SubjectPublicKeyInfo), "another kind"),
            (ED_KEY.public_key().public_bytes(PEM, PUBLIC.SubjectPublicKeyInfo), "another kind"),
            (certificate(EC_KEY), "another kind"),
            (certificate(ED_KEY), "another kind"),
            (private_pem(vector_key()), "RSA public key in PEM"),
            (certificate(vector_key())[:300], "RSA public key in PEM"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "RSA public key in PEM"),
            (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "RSA public key in PEM"),
            (b"", "RSA public key in PEM"),
            (b"\xff\x00", "RSA public key in PEM"),
        ],
    )
    def test_public_keys_that_are_none(self, pem: bytes, reason: str) -> None:
        with pytest.raises(KeyFormatError, match=reason):
            parse_public_key(pem)

    def test_a_certificate_of_an_unknown_version(self) -> None:
        # The version is the last byte of the first [0] tag: three is 2.
        der = x509.load_pem_x509_certificate(certificate(vector_key())).public_bytes(serialization.Encoding.DER)
        odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)
        pem = b"-----BEGIN CERTIFICATE-----\n" + encodebytes(odd) + b"-----END CERTIFICATE-----\n"
        with pytest.raises(KeyFormatError, match="RSA public key in PEM"):
            parse_public_key(pem)

    @pytest.mark.parametrize(("bits", "taken"), [(1023, False), (1024, True), (16384, True), (16385, False)])
    def test_the_size_is_sensible(self, bits: int, taken: bool) -> None:
        pem = public_pem(rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()).encode()
        if taken:
            assert parse_public_key(pem).key_size == bits
        else:
            with pytest.raises(KeyFormatError, match=f"expected an RSA key of 1024 to 16384 bits, got {bits}"):
                parse_public_key(pem)

    @given(junk=st.binary(), place=st.integers(0, 2000), cut=st.integers(0, 50))
    def test_garbage_only_raises_key_format_errors(self, junk: bytes, place: int, cut: int) -> None:
        for parse, pem in (
            (parse_private_key, private_pem(vector_key())),
            (parse_public_key, public_pem(vector_key().public_key()).encode()),
            (parse_public_key, certificate(vector_key())),
        ):
            place = min(place, len(pem))
            try:
                parse(pem[:place] + junk + pem[place + cut :])
            except KeyFormatError:
                continue


class TestCurve:
    def test_a_new_pair(self) -> None:
        pair = CurveKeyPair.make()
        assert len(check_curve_key(pair.public)) == len(check_curve_key(pair.secret)) == 32
        assert pair != CurveKeyPair.make()

    def test_the_secret_makes_the_pair(self) -> None:
        pair = CurveKeyPair.make()
        assert CurveKeyPair.from_secret(pair.secret) == pair

    def test_the_secret_is_not_shown(self) -> None:
        pair = CurveKeyPair.make()
        assert pair.secret not in repr(pair)

    @given(key=st.binary(min_size=32, max_size=32))
    def test_every_32_bytes_are_a_key(self, key: bytes) -> None:
        assert check_curve_key(z85.encode(key).decode()) == key

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "a" * 39,
            "a" * 41,
            "a" * 39 + " ",
            "a" * 39 + "\n",
            "a" * 39 + "~",
            "a" * 39 + '"',
            "a" * 39 + "é",
            "é" * 20,
            "\ud800" * 40,
            "#" * 40,  # five of the last digit are more than 32 bits
        ],
    )
    def test_what_is_no_key(self, key: str) -> None:
        with pytest.raises(KeyFormatError, match=r"^expected 40 characters of Z85$"):
            check_curve_key(key)
        with pytest.raises(KeyFormatError, match=r"^expected 40 characters of Z85$"):
            CurveKeyPair.from_secret(key)

    @given(key=st.one_of(st.text(), st.text(min_size=40, max_size=40), st.text(z85.Z85CHARS.decode(), min_size=40)))
    def test_hostile_texts_only_raise_key_format_errors(self, key: str) -> None:
        try:
            data = check_curve_key(key)
        except KeyFormatError:
            return
        assert z85.encode(data).decode() == key


class TestWritePrivate:
    def test_only_the_owner_can_read_it(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            write_private(tmp_path / "key", b"data")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        assert (tmp_path / "key").read_bytes() == b"data"

    def test_it_does_not_overwrite(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"old")
        with pytest.raises(FileExistsError):
            write_private(path, b"new")
        assert [*tmp_path.iterdir()] == [path]
        assert path.read_bytes() == b"old"

    def test_it_does_not_follow_a_link_that_leads_nowhere(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FileExistsError):
            write_private(path, b"new")
        assert not (tmp_path / "elsewhere").exists()

    def test_it_overwrites_where_it_is_told_to(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"old")
        path.chmod(0o644)
        write_private(path, b"new", overwrite=True)
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [*tmp_path.iterdir()] == [path]

    def test_a_reader_of_the_old_file_keeps_it_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"old")
        with path.open("rb") as reader:
            write_private(path, b"new", overwrite=True)
            assert reader.read() == b"old"

    def test_it_leaves_nothing_where_it_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.mkdir()
        with pytest.raises(OSError, match="directory"):
            write_private(path, b"new", overwrite=True)
        assert [*tmp_path.iterdir()] == [path]

    def test_the_directory_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            write_private(tmp_path / "missing" / "key", b"data")
