"""The certificates and keys of one cluster, made by openssl, and the kubeconfigs that hold them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import commands
from tests.cluster.local.addresses import Ranges
from tests.cluster.local.processes import replace_text

_DAYS = "3650"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True, slots=True)
class Authority:
    """The files of a cluster's certificate authority, in one directory."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """Return where a certificate is."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return where the key of a certificate is."""
        return self.directory / f"{name}.key"

    def create(self, ranges: Ranges) -> None:
        """Make all files, once."""
        if self.certificate("front-proxy").exists():
            return
        self.directory.mkdir(mode=0o700, exist_ok=True)
        # Python 3.13 and later refuse chains that lack any of these extensions.
        extensions = [
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
        ]
        given = [part for extension in extensions for part in ("-addext", extension)]
        commands.run(
            [
                "openssl",
                "req",
                "-x509",
                *_KEY,
                "-days",
                _DAYS,
                "-subj",
                "/CN=taskyard-test-cluster",
                *given,
                "-keyout",
                str(self.key("ca")),
                "-out",
                str(self.certificate("ca")),
            ]
        )
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        names = [f"DNS:{name}" for name in [*service, "kubernetes.default.svc.cluster.local"]]
        addresses = ["127.0.0.1", str(ranges.node(1)), str(ranges.kubernetes_service)]
        self._issue("apiserver", "/CN=kube-apiserver", [*names, *(f"IP:{address}" for address in addresses)])
        self._issue("admin", "/O=system:masters/CN=admin", ["DNS:admin"])
        account = ["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1"]
        commands.run([*account, "-out", str(self.key("service-accounts"))])
        public = ["openssl", "ec", "-in", str(self.key("service-accounts")), "-pubout"]
        commands.run([*public, "-out", str(self.directory / "service-accounts.pub")])
        self._issue("front-proxy", "/CN=front-proxy", ["DNS:front-proxy"])

    def _issue(self, name: str, subject: str, alternative_names: list[str]) -> None:
        request = self.directory / f"{name}.csr"
        commands.run(
            ["openssl", "req", *_KEY, "-subj", subject, "-keyout", str(self.key(name)), "-out", str(request)]
        )
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(
            "authorityKeyIdentifier=keyid\n"
            "basicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName={','.join(alternative_names)}\n"
        )
        signer = ["-CA", str(self.certificate("ca")), "-CAkey", str(self.key("ca")), "-CAcreateserial"]
        beside = self.directory / f".{name}.crt"
        commands.run(
            [
                "openssl",
                "x509",
                "-req",
                "-in",
                str(request),
                *signer,
                "-days",
                _DAYS,
                "-extfile",
                str(extensions),
                "-out",
                str(beside),
            ]
        )
        beside.rename(self.certificate(name))
        request.unlink()
        extensions.unlink()

    def write_kubeconfig(self, path: Path, server: str, cluster: str) -> None:
        """Write a kubeconfig for the administrator. ``cluster`` names the context."""
        name = f"taskyard-{cluster}"

        def data(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        user = {
            "client-certificate-data": data(self.certificate("admin")),
            "client-key-data": data(self.key("admin")),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": server, "certificate-authority-data": data(self.certificate("ca"))},
                }
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        # JSON is YAML too.
        replace_text(path, json.dumps(content, indent=2) + "\n")
        path.chmod(0o600)
