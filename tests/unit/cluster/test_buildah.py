"""What a build sees of the host."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from tests.cluster.local import buildah

LISTING = """\
:env:.cert='/home/me/ca.pem'
:env:.default-timeout='180'
global.index-url='https://mirror.example/simple'
:env:.index-url='https://other.example/simple'
global.find-links='/wheels\\nhttps://more.example'
global.user='true'
freeze.timeout='10'
install.no-index='false'
nonsense
"""


def test_pip_finds_packages_where_it_does_on_the_host() -> None:
    assert buildah.pip_options(LISTING) == {
        "timeout": "180",
        "index-url": "https://other.example/simple",
        "find-links": "/wheels\nhttps://more.example",
        "no-index": "false",
    }


def test_the_file_is_one_that_pip_reads() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string(buildah.pip_file(buildah.pip_options(LISTING), certificates=True))
    section = parser["global"]
    assert section["find-links"].split() == ["/wheels", "https://more.example"]
    assert section["cert"] == "/etc/ssl/certs/ca-certificates.crt"
    assert section["timeout"] == "180"


def test_without_certificates_none_are_named() -> None:
    assert "cert =" not in buildah.pip_file({}, certificates=False)


def test_the_certificates_that_the_user_set_come_first(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    env = {"SSL_CERT_FILE": str(tmp_path / "none"), "PIP_CERT": str(bundle)}
    assert buildah.certificate_bundle(env) == str(bundle)


def test_arguments_of_a_build() -> None:
    arguments = buildah.build_arguments(
        "localhost/a:1", Path("ctx"), Path("D"), {"K": "V"}, ["/host:/guest:ro"]
    )
    assert arguments[-1] == "ctx"
    assert "--build-arg=K=V" in arguments
    assert "--volume=/host:/guest:ro" in arguments
    assert arguments[arguments.index("--tag") + 1] == "localhost/a:1"
