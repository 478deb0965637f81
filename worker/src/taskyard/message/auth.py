"""The serialiser ``auth``: bodies that are signed with the sender's key and checked against certificates.

Source of the format: Celery 5.7, celery/security/serialization.py. The body is the base64 of five fields with
``\\x00\\x01`` between them: base64 of the signer (issuer and serial number of its certificate), base64 of the
signature (RSA-PSS over the inner body), content type, content encoding, inner body. Headers are not signed.
"""

from __future__ import annotations

import glob
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from taskyard.errors import ImproperlyConfigured, SecurityError

if TYPE_CHECKING:
    from taskyard.settings import Settings

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/data"
_SEPARATOR: Final = b"\x00\x01"


class Certificate:
    """An X.509 certificate with an RSA key, from PEM."""

    def __init__(self, pem: bytes, name: str = "certificate") -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509 import load_pem_x509_certificate

        try:
            self._certificate = load_pem_x509_certificate(pem)
        except ValueError as error:
            raise SecurityError(f"{name} is no certificate in PEM form: {error}") from None
        key = self._certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise SecurityError(f"{name} has no RSA key")
        self._key = key

    @property
    def id(self) -> str:
        """Issuer and serial number, which tell signers apart."""
        issuer = " ".join(str(attribute.value) for attribute in self._certificate.issuer)
        return f"{issuer} {self._certificate.serial_number}"

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return datetime.now(UTC) >= self._certificate.not_valid_after_utc

    def verify(self, data: bytes, signature: bytes, digest: Any) -> None:
        """SecurityError unless the certificate's key has signed the data."""
        from cryptography.exceptions import InvalidSignature

        if self.expired:
            raise SecurityError(f"the certificate {self.id!r} has expired")
        try:
            self._key.verify(signature, data, _padding(digest), digest)
        except InvalidSignature:
            raise SecurityError(f"the signature of {self.id!r} does not fit the message") from None


class PrivateKey:
    """An RSA key, from PEM."""

    def __init__(self, pem: bytes, password: bytes | None = None, name: str = "security_key") -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password)
        except (ValueError, TypeError) as error:
            raise SecurityError(
                f"{name} is no private key in PEM form, or its password is wrong: {error}"
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SecurityError(f"{name} is no RSA key")
        self._key = key

    def sign(self, data: bytes, digest: Any) -> bytes:
        """The signature of the data."""
        return self._key.sign(data, _padding(digest), digest)


def _padding(digest: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)


class CertificateStore:
    """The certificates of those who may sign, from a directory or a glob."""

    def __init__(self, path: str) -> None:
        pattern = os.path.join(path, "*") if os.path.isdir(path) else path
        self._certificates: dict[str, Certificate] = {}
        for name in sorted(glob.glob(pattern)):
            certificate = Certificate(Path(name).read_bytes(), name)
            if certificate.expired:
                raise SecurityError(f"the certificate {name} has expired: take it out of {path}")
            if certificate.id in self._certificates:
                raise SecurityError(f"the certificate {name} is in {path} twice")
            self._certificates[certificate.id] = certificate
        if not self._certificates:
            logger.warning("security_cert_store %r holds no certificate: no signed message can be read", path)

    def __getitem__(self, signer: str) -> Certificate:
        try:
            return self._certificates[signer]
        except KeyError:
            raise SecurityError(f"the certificate of {signer!r} is not in security_cert_store") from None


class SecureSerializer:
    """Signs what it writes and checks what it reads; the inner serialiser is kombu's of that name."""

    def __init__(
        self,
        key: PrivateKey,
        certificate: Certificate,
        store: CertificateStore,
        digest: str = "sha256",
        serializer: str = "json",
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._store = store
        self._digest = _digest(digest)
        self._serializer = serializer

    def serialize(self, value: Any) -> str:
        """Encode and sign."""
        from kombu.serialization import dumps

        content_type, content_encoding, body = dumps(value, serializer=self._serializer)
        raw = body.encode() if isinstance(body, str) else body
        signature = self._key.sign(raw, self._digest)
        fields = [
            b64encode(self._certificate.id.encode()),
            b64encode(signature),
            content_type.encode(),
            content_encoding.encode(),
            raw,
        ]
        return b64encode(_SEPARATOR.join(fields)).decode()

    def deserialize(self, data: bytes | str) -> Any:
        """Check the signature, then decode; SecurityError before anything of the body was decoded."""
        from kombu.serialization import loads

        try:
            fields = b64decode(data, validate=False).split(_SEPARATOR, 4)
            signer, signature = b64decode(fields[0]).decode(), b64decode(fields[1])
            content_type, content_encoding, body = fields[2].decode(), fields[3].decode(), fields[4]
        except (ValueError, IndexError) as error:
            raise SecurityError(f"the message is not signed as 'auth' signs: {error}") from None
        self._store[signer].verify(body, signature, self._digest)
        return loads(body, content_type, content_encoding, force=True)


def _digest(name: str) -> Any:
    from cryptography.hazmat.primitives import hashes

    kind = getattr(hashes, name.upper(), None)
    if kind is None:
        raise ImproperlyConfigured(f"security_digest {name!r} is unknown; take sha256, sha384 or sha512")
    return kind()


def setup_security(
    settings: Settings,
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
) -> None:
    """Register ``auth`` with the files that the arguments, or else the security_* settings, name.

    Serialisers other than json and those in `allowed_serializers` are switched off, as in Celery.
    """
    try:
        import cryptography  # noqa: F401  the first to need it
    except ImportError:
        raise ImproperlyConfigured("signed messages need a package: pip install taskyard[auth]") from None
    from kombu.serialization import disable_insecure_serializers, registry

    disable_insecure_serializers(allowed_serializers)
    if settings.task_serializer != "auth" or list(settings.accept_content) != ["auth"]:
        raise ImproperlyConfigured(
            "signed messages need task_serializer = 'auth' and accept_content = ['auth']: signing is of no "
            "use where others are accepted unsigned"
        )
    key = key or settings.security_key
    cert = cert or settings.security_certificate
    store = store or settings.security_cert_store
    missing = [
        name
        for name, value in (
            ("security_key", key),
            ("security_certificate", cert),
            ("security_cert_store", store),
        )
        if not value
    ]
    if not (key and cert and store):
        raise ImproperlyConfigured(f"signed messages need the setting {', '.join(missing)}")
    password = key_password or settings.security_key_password
    signer = SecureSerializer(
        PrivateKey(
            _read(key, "security_key"), password.encode() if isinstance(password, str) else password, key
        ),
        Certificate(_read(cert, "security_certificate"), cert),
        CertificateStore(store),
        digest or settings.security_digest,
        serializer,
    )
    registry.register(
        "auth", signer.serialize, signer.deserialize, content_type=CONTENT_TYPE, content_encoding="utf-8"
    )
    registry._set_default_serializer("auth")


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(f"{setting}: {error}") from None
