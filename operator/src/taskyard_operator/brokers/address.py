"""Broker URLs as kombu reads them, and the credentials of a broker Secret."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.base import BrokerError


@dataclass(frozen=True, slots=True)
class BrokerCredentials:
    """What one key of a broker Secret says. Only `origin` may be shown to people.

    `origin` names the Secret and key, for messages. `management_url` is the RabbitMQ HTTP API with
    its credentials, `ca` PEM certificates to trust, `key_prefix` kombu's `global_keyprefix` on Redis,
    `master_name` the service that Redis Sentinel watches.
    """

    url: str = field(repr=False)
    origin: str
    management_url: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)
    key_prefix: str = ""
    master_name: str | None = None

    @classmethod
    def from_secret(cls, data: Mapping[str, str], *, name: str, key: str) -> BrokerCredentials:
        """Read the decoded data of the Secret `name`. Raises `BrokerError` if `key` is not in it."""
        origin = f'key "{key}" of Secret "{name}"'
        url = data.get(key, "").strip()
        if not url:
            keys = ", ".join(sorted(data)) or "none"
            raise BrokerError(
                QueueReason.SECRET_KEY_NOT_FOUND,
                f"{origin} is missing or empty (keys: {keys}): put the broker URL there",
            )
        return cls(
            url=url,
            origin=origin,
            management_url=data.get("management-url", "").strip() or None,
            ca=data.get("ca.crt", "").strip() or None,
            key_prefix=data.get("key-prefix", "").strip(),
            master_name=data.get("master-name", "").strip() or None,
        )


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """One broker URL in its parts. The password never shows in `repr`; `str` is fit for people."""

    scheme: str
    host: str
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{self.host}{port}"

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate is verified: yes, unless the URL says `ssl_cert_reqs=none`."""
        value = self.query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
        return value != "none"


def scheme_of(url: str) -> str:
    """The scheme of a broker URL, lower case; empty if there is none. `pyamqp` is kombu's name for `amqp`."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def parse_addresses(credentials: BrokerCredentials, schemes: Mapping[str, int | None]) -> list[BrokerAddress]:
    """The addresses in a broker URL, which may list several with `;` between them (kombu's failover).

    `schemes` are the schemes that are understood with their default ports. Raises `BrokerError` with
    reason `InvalidURL`; the message never quotes the URL, as it holds a password.
    """
    addresses: list[BrokerAddress] = []
    scheme = scheme_of(credentials.url)
    for part in credentials.url.split(";"):
        part = part.strip()
        if not part:
            continue
        if "://" not in part:  # kombu: further hosts may leave the scheme out
            part = f"{scheme}://{part}"
        addresses.append(_parse(part, credentials.origin, schemes))
    return addresses


def tls_context(address: BrokerAddress, ca: str | None) -> ssl.SSLContext:
    """TLS settings: the system's certificate authorities, or those of `ca`."""
    try:
        context = ssl.create_default_context(cadata=ca)
    except ssl.SSLError as problem:
        raise BrokerError(
            QueueReason.INVALID_CERTIFICATE,
            "key ca.crt of the broker Secret is not PEM: put certificates there",
        ) from problem
    if not address.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _parse(url: str, origin: str, schemes: Mapping[str, int | None]) -> BrokerAddress:
    scheme = scheme_of(url)
    if scheme not in schemes:
        raise BrokerError(
            QueueReason.INVALID_URL, f"{origin} mixes URLs of different brokers: name one kind of broker"
        )
    try:
        # kombu reads every URL by the rules of http, whatever its scheme.
        parts = urlsplit("http://" + url[len(scheme) + 3 :])
        port = parts.port
    except ValueError:
        raise BrokerError(
            QueueReason.INVALID_URL,
            f"{origin} is not a URL: write scheme://user:password@host:port/vhost and percent-encode"
            " special characters in the password",
        ) from None  # its words quote the URL
    return BrokerAddress(
        scheme=scheme,
        host=unquote(parts.hostname or ""),
        port=port or schemes[scheme],
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        path=unquote(parts.path.removeprefix("/")),
        query=dict(parse_qsl(parts.query)),
    )
