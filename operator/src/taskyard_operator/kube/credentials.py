"""Where the API server is and who the operator is there: a kubeconfig, or the pod's service account.

The kubeconfig format is documented at https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/, the
files of a service account at https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REREAD = timedelta(seconds=60)
"""A projected token is replaced when 80 % of its life is over, so a minute is early enough to follow."""


class CredentialsError(Exception):
    """There are no usable credentials; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One way to reach one API server. PEM texts and tokens are kept out of ``repr``.

    ``expires`` is when they should be loaded again; None means never.
    """

    server: str
    namespace: str = "default"
    ca: str | None = None
    insecure: bool = False
    server_name: str | None = None
    certificate: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    proxy: str | None = None
    expires: datetime | None = None

    def headers(self) -> dict[str, str]:
        """The ``Authorization`` header, or nothing where the client certificate says it all."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.username and self.password is not None:
            pair = f"{self.username}:{self.password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return {}

    def same_transport(self, other: Credentials) -> bool:
        """Whether a connection made with these serves the other ones too (only the header differs)."""
        strip: dict[str, Any] = {"token": None, "username": None, "password": None, "expires": None}
        return replace(self, **strip) == replace(other, **strip)

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS side. ``ssl`` takes a client certificate from files only, so they exist for a moment."""
        try:
            context = ssl.create_default_context(cadata=self.ca)
            if self.certificate and self.private_key:
                with tempfile.TemporaryDirectory(prefix="taskyard-") as folder:
                    pem = Path(folder, "client.pem")
                    pem.touch(mode=0o600)
                    pem.write_text(f"{self.certificate}\n{self.private_key}\n")
                    context.load_cert_chain(pem)
        except ssl.SSLError as problem:
            raise CredentialsError(f"the certificates for {self.server} are not usable: {problem}") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class CredentialSource:
    """Finds the credentials, and reads them again when they have changed.

    The order is the one ``kubectl`` has: an explicit ``kubeconfig``, then ``$KUBECONFIG`` (several files may
    be joined with ``:``), then the pod's service account, then ``~/.kube/config``.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        environ: Mapping[str, str] | None = None,
        service_account: Path = SERVICE_ACCOUNT_DIR,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._files = [Path(part) for part in (kubeconfig or "").split(os.pathsep) if part]
        self._files = self._files or [
            Path(part) for part in self._environ.get("KUBECONFIG", "").split(os.pathsep) if part
        ]
        self._context = context
        self._service_account = service_account

    async def load(self) -> Credentials:
        """Read the credentials as they are now.

        Raises :class:`CredentialsError` where there are none, or where they cannot be read.
        """
        found, plugin = await asyncio.to_thread(self._read)
        return found if plugin is None else await _ask_plugin(found, plugin)

    def _read(self) -> tuple[Credentials, dict[str, Any] | None]:
        if self._files:
            return _from_kubeconfig(self._files, self._context)
        if self._environ.get("KUBERNETES_SERVICE_HOST") and (self._service_account / "token").exists():
            return _from_service_account(self._service_account, self._environ), None
        default = Path(self._environ.get("HOME", "/"), ".kube", "config")
        if default.exists():
            return _from_kubeconfig([default], self._context)
        raise CredentialsError(
            "no Kubernetes credentials: set KUBECONFIG to a kubeconfig file, "
            "or run in a pod with a service account"
        )


def _from_service_account(folder: Path, environ: Mapping[str, str]) -> Credentials:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = (folder / "token").read_text().strip()
        ca = (folder / "ca.crt").read_text()
        namespace = (folder / "namespace").read_text().strip()
    except OSError as problem:
        raise CredentialsError(f"cannot read the service account of this pod: {problem}") from problem
    return Credentials(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace or "default",
        ca=ca,
        token=token,
        expires=datetime.now(UTC) + _REREAD,
    )


def _from_kubeconfig(
    files: list[Path], wanted_context: str | None
) -> tuple[Credentials, dict[str, Any] | None]:
    entries: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = wanted_context
    read = 0
    for path in files:
        try:
            content = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
            raise CredentialsError(f"cannot read the kubeconfig {path}: {_one_line(problem)}") from problem
        if not isinstance(content, dict):
            raise CredentialsError(f"{path} is not a kubeconfig: it holds no mapping")
        read += 1
        current = current or content.get("current-context")
        for kind, known in entries.items():
            for entry in content.get(kind) or []:
                # The first file that names something wins, as it does for kubectl.
                body = entry.get(kind[:-1]) or {}
                known.setdefault(str(entry.get("name")), (body, path.resolve().parent))
    names = ", ".join(str(path) for path in files)
    if not read:
        raise CredentialsError(f"there is no kubeconfig at {names}: mend KUBECONFIG, or unset it in a pod")
    if not current:
        raise CredentialsError(f"{names} has no current context: name one with --context")
    context, _ = _entry(entries, "contexts", current, names)
    cluster, cluster_dir = _entry(entries, "clusters", str(context.get("cluster")), names)
    user: dict[str, Any] = {}
    user_dir = cluster_dir
    if context.get("user"):
        user, user_dir = _entry(entries, "users", str(context["user"]), names)
    if not cluster.get("server"):
        raise CredentialsError(f"the cluster {context.get('cluster')!r} in {names} names no server")
    token, expires = user.get("token"), None
    if user.get("tokenFile"):
        token = _text(user_dir / user["tokenFile"])
        expires = datetime.now(UTC) + _REREAD
    found = Credentials(
        server=str(cluster["server"]).rstrip("/"),
        namespace=context.get("namespace") or "default",
        ca=_pem(cluster, "certificate-authority", cluster_dir),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name"),
        certificate=_pem(user, "client-certificate", user_dir),
        private_key=_pem(user, "client-key", user_dir),
        token=token.strip() if token else None,
        username=user.get("username"),
        password=user.get("password"),
        proxy=cluster.get("proxy-url"),
        expires=expires,
    )
    return found, user.get("exec")


def _entry(
    entries: dict[str, dict[str, tuple[dict[str, Any], Path]]], kind: str, name: str, names: str
) -> tuple[dict[str, Any], Path]:
    try:
        return entries[kind][name]
    except KeyError:
        known = ", ".join(sorted(entries[kind])) or "none"
        raise CredentialsError(f"{names} has no {kind[:-1]} {name!r}; it has: {known}") from None


def _pem(entry: Mapping[str, Any], name: str, folder: Path) -> str | None:
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as problem:
            raise CredentialsError(f"{name}-data in the kubeconfig is not base64 of a PEM text") from problem
    if path := entry.get(name):
        return _text(folder / path)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as problem:
        raise CredentialsError(f"the kubeconfig points to a file that cannot be read: {problem}") from problem


async def _ask_plugin(base: Credentials, plugin: Mapping[str, Any]) -> Credentials:
    """Run a credential plugin (``exec`` of a kubeconfig) and take the ExecCredential it prints."""
    command = [str(plugin.get("command")), *map(str, plugin.get("args") or [])]
    environ = {**os.environ, **{str(pair["name"]): str(pair["value"]) for pair in plugin.get("env") or []}}
    environ["KUBERNETES_EXEC_INFO"] = json.dumps(
        {
            "apiVersion": plugin.get("apiVersion"),
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    except (OSError, TimeoutError) as problem:
        raise CredentialsError(
            f"the credential plugin {command[0]!r} cannot run: {problem or 'timeout'}"
        ) from None
    if process.returncode:
        raise CredentialsError(f"the credential plugin {command[0]!r} failed with code {process.returncode}")
    try:
        status = json.loads(printed)["status"]
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(f"the credential plugin {command[0]!r} printed no ExecCredential") from None
    expires = status.get("expirationTimestamp")
    return replace(
        base,
        token=status.get("token") or base.token,
        certificate=status.get("clientCertificateData") or base.certificate,
        private_key=status.get("clientKeyData") or base.private_key,
        # Load a little early: a token that ends during a request is a 401 for nothing.
        expires=datetime.fromisoformat(expires) - timedelta(seconds=30) if expires else None,
    )


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split())
