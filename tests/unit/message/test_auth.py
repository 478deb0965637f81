"""Signed messages: Celery's own serialiser reads ours and we read Celery's; nothing unsigned gets through."""

import datetime
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from celery.security.certificate import Certificate as CeleryCertificate
from celery.security.certificate import FSCertStore
from celery.security.key import PrivateKey as CeleryKey
from celery.security.serialization import SecureSerializer as CelerySerializer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from kombu.serialization import enable_insecure_serializers, registry

from taskyard import App, security
from taskyard.errors import ImproperlyConfigured, MalformedMessage, SecurityError
from taskyard.message.auth import Certificate, CertificateStore, PrivateKey, SecureSerializer, setup_security
from taskyard.message.codec import content_types, dumps, loads

BODY = [[1, 2], {"k": "v"}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make(directory: Path, name: str, *, days: int = 1, password: bytes | None = None) -> tuple[Path, Path]:
    """A key and a certificate as files."""
    key = _key(name)
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = directory / f"{name}.key", directory / "store" / f"{name}.pem"
    certificate_file.parent.mkdir(exist_ok=True)
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file


def ours(key: Path, certificate: Path) -> SecureSerializer:
    store = CertificateStore(str(certificate.parent))
    return SecureSerializer(PrivateKey(key.read_bytes()), Certificate(certificate.read_bytes()), store)


def theirs(key: Path, certificate: Path) -> Any:
    store = FSCertStore(str(certificate.parent))
    return CelerySerializer(
        CeleryKey(key.read_text()), CeleryCertificate(certificate.read_text()), store, "sha256"
    )


def test_both_ways_with_celery(tmp_path: Path) -> None:
    pair = make(tmp_path, "sender")
    assert theirs(*pair).deserialize(ours(*pair).serialize(BODY)) == BODY
    assert ours(*pair).deserialize(theirs(*pair).serialize(BODY)) == BODY


def test_what_is_changed_unknown_or_expired_is_refused(tmp_path: Path) -> None:
    pair = make(tmp_path, "sender")
    text = ours(*pair).serialize(BODY)
    with pytest.raises(SecurityError):
        ours(*pair).deserialize(text[:-8] + "AAAA" + text[-4:])
    with pytest.raises(SecurityError, match="not signed"):
        ours(*pair).deserialize("bm90aGluZw==")
    (tmp_path / "other").mkdir()
    stranger = make(tmp_path / "other", "stranger")
    with pytest.raises(SecurityError, match="is not in security_cert_store"):
        ours(*pair).deserialize(ours(*stranger).serialize(BODY))
    make(tmp_path, "old", days=-1)
    with pytest.raises(SecurityError, match="has expired"):
        CertificateStore(str(pair[1].parent))


@pytest.fixture
def clean_registry() -> Iterator[None]:
    yield
    if "auth" in registry.name_to_type:
        registry.unregister("auth")
    enable_insecure_serializers(["json", "yaml", "pickle", "msgpack"])
    registry._set_default_serializer("json")


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize("path", ["app", "module"])
def test_setup_security_from_settings(tmp_path: Path, path: str) -> None:
    key, certificate = make(tmp_path, "sender", password=b"secret")
    app = App(
        "test",
        task_serializer="auth",
        accept_content=["auth"],
        security_key=str(key),
        security_key_password="secret",
        security_certificate=str(certificate),
        security_cert_store=str(certificate.parent / "*.pem"),
    )
    if path == "app":
        app.setup_security()
    else:
        security.setup_security(app=app)
    body, content_type, encoding = dumps(BODY, "auth")
    assert content_type == "application/data"
    accept = content_types(app.conf.accept_content)
    assert loads(body, content_type, encoding, accept) == BODY
    with pytest.raises(MalformedMessage, match="not accepted"):
        loads(b"[]", "application/json", "utf-8", accept)
    with pytest.raises(MalformedMessage, match="not signed"):
        loads(b"W10=", content_type, encoding, accept)


@pytest.mark.usefixtures("clean_registry")
def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="task_serializer = 'auth'"):
        setup_security(App("test").conf)
    conf = App("test", task_serializer="auth", accept_content=["auth"], security_key="/no/key").conf
    with pytest.raises(ImproperlyConfigured, match="security_certificate, security_cert_store"):
        setup_security(conf)
    key, certificate = make(tmp_path, "sender")
    store = str(certificate.parent)
    with pytest.raises(ImproperlyConfigured, match=r"security_key: .*No such file"):
        setup_security(conf, cert=str(certificate), store=store)
    with pytest.raises(ImproperlyConfigured, match="sha1024"):
        setup_security(conf, key=str(key), cert=str(certificate), store=store, digest="sha1024")


def test_without_setup_the_remedy_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"app\.setup_security"):
        dumps(BODY, "auth")


def test_who_only_sends_needs_no_certificates_of_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CertificateStore(str(tmp_path / "*.pem"))
    assert "no signed message can be read" in caplog.text
    with pytest.raises(SecurityError):
        store["anybody 1"]


@pytest.mark.usefixtures("clean_registry")
def test_contents_that_are_not_trusted_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_disabled_content_types", set())
    security.disable_untrusted_serializers(["json"])
    assert "application/x-python-serialize" in registry._disabled_content_types
    assert "application/json" not in registry._disabled_content_types
