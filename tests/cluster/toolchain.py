"""The Go programs of a test cluster: what they are, and how they are built into the cache.

Kubernetes, etcd, CoreDNS and Helm are pinned together in golang/go.mod and golang/go.sum, so that they share
most of what they compile: the first one takes minutes from a cold cache, the others seconds.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache, commands, packages
from tests.cluster.errors import CommandError, MissingToolError
from tests.cluster.progress import step

KUBERNETES = "v1.34.4"
ETCD = "v3.6.5"
COREDNS = "v1.13.1"
HELM = "v3.19.4"
KUBECONFORM = "v0.7.0"
KIND = "v0.30.0"

SOURCES = Path(__file__).parent / "golang"
GO_MINIMUM = (1, 24)
# From this version on, Go fetches a newer one by itself where a module asks for it.
GO_FETCHES_ITSELF = (1, 21)


@dataclass(frozen=True, slots=True)
class Program:
    """A Go program.

    ``package`` is a directory of golang/, or an import path of a module that golang/go.mod requires, or
    ``path@version`` of one that stands alone. ``variables`` are set at link time. ``called`` are the names
    that the program is run under, where they are not its own.
    """

    name: str
    version: str
    package: str
    hint: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    called: tuple[str, ...] = ()

    @property
    def pinned_here(self) -> bool:
        """Whether golang/go.mod decides the versions."""
        return "@" not in self.package

    @property
    def linker_flags(self) -> str:
        """What the linker is told: no debug information, and the variables."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables)])


_MAJOR, _MINOR = KUBERNETES.removeprefix("v").split(".")[:2]

HYPERKUBE = Program(
    "hyperkube",
    KUBERNETES,
    "./hyperkube",
    hint="5 minutes on two cores",
    # Without these, Kubernetes says that it is v0.0.0-master, and charts refuse it.
    variables=(
        ("k8s.io/component-base/version.gitVersion", KUBERNETES),
        ("k8s.io/component-base/version.gitMajor", _MAJOR),
        ("k8s.io/component-base/version.gitMinor", _MINOR),
        ("k8s.io/component-base/version.gitTreeState", "clean"),
    ),
    called=(
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
    ),
)
ETCD_SERVER = Program("etcd", ETCD, "go.etcd.io/etcd/server/v3", hint="half a minute")
COREDNS_SERVER = Program("coredns", COREDNS, "./coredns", hint="half a minute")
PAUSE = Program("pause", "v1", "./pause", hint="seconds")
HELM_CLIENT = Program(
    "helm",
    HELM,
    "helm.sh/helm/v3/cmd/helm",
    hint="half a minute",
    variables=(
        ("helm.sh/helm/v3/internal/version.version", HELM),
        ("helm.sh/helm/v3/internal/version.gitTreeState", "clean"),
        *(
            (f"helm.sh/helm/v3/pkg/{package}.{variable}", value)
            for package in ("chartutil", "lint/rules")
            for variable, value in (("k8sVersionMajor", _MAJOR), ("k8sVersionMinor", _MINOR))
        ),
    ),
)
KUBECONFORM_CHECKER = Program(
    "kubeconform", KUBECONFORM, f"github.com/yannh/kubeconform/cmd/kubeconform@{KUBECONFORM}", hint="seconds"
)
KIND_CLIENT = Program("kind", KIND, f"sigs.k8s.io/kind@{KIND}", hint="half a minute")

PROGRAMS = {
    name: program
    for program in (
        HYPERKUBE,
        ETCD_SERVER,
        COREDNS_SERVER,
        PAUSE,
        HELM_CLIENT,
        KUBECONFORM_CHECKER,
        KIND_CLIENT,
    )
    for name in (program.called or (program.name,))
}


def binary(name: str) -> Path:
    """Return the path of a program by the name it is run under, after building it where needed."""
    program = PROGRAMS[name]
    return build(program) / name


def build(program: Program) -> Path:
    """Return the directory of a program's binaries."""
    return cache.entry(program.name, program.version, inputs(program), functools.partial(_compile, program))


def inputs(program: Program) -> Iterator[bytes | str]:
    """Yield all that decides what a build gives."""
    yield program.package
    yield program.linker_flags
    yield from program.called
    yield f"{os.uname().sysname} {os.uname().machine}"
    if not program.pinned_here:
        return
    yield (SOURCES / "go.mod").read_bytes()
    yield (SOURCES / "go.sum").read_bytes()
    if program.package.startswith("./"):
        for source in sorted((SOURCES / program.package).glob("*.go")):
            yield source.read_bytes()


def compile_command(program: Program, go: str, into: Path) -> list[str]:
    """Return the command that builds a program into a directory."""
    # Linking Kubernetes takes 2 GB: a machine with many cores and little memory should not try it many times
    # over.
    jobs = os.environ.get("TASKYARD_BUILD_JOBS") or str(min(4, os.cpu_count() or 1))
    flags = ["-p", jobs, "-trimpath", "-buildvcs=false", "-ldflags", program.linker_flags]
    if program.pinned_here:
        return [go, "build", *flags, "-mod=readonly", "-o", str(into / program.name), program.package]
    return [go, "install", *flags, program.package]


def _compile(program: Program, into: Path) -> None:
    go = find_go()
    env = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOBIN": str(into), "GOWORK": "off"}
    version = go_version(go)
    if version and version < GO_MINIMUM:
        env["GOTOOLCHAIN"] = f"go{GO_MINIMUM[0]}.{GO_MINIMUM[1]}.0+auto"
    log = cache.root() / f"build-{program.name}.log"
    log.unlink(missing_ok=True)
    with step(f"building {program.name} {program.version} (from a cold cache {program.hint})"):
        commands.run(compile_command(program, go, into), env=env, cwd=SOURCES, log=log)
    for name in program.called:
        (into / name).symlink_to(program.name)


def find_go() -> str:
    """Return the path of a Go that can build the programs, after installing it where that is possible.

    Raises MissingToolError with what to do.
    """
    versions = {}
    for path in _gos():
        version = go_version(path)
        if version and version >= GO_FETCHES_ITSELF:
            return path
        versions[path] = version
    if packages.can_install():
        offered = parse_version(packages.candidate("golang-go") or "")
        if offered and offered >= GO_FETCHES_ITSELF:
            packages.install(["golang-go", "ca-certificates"])
            return find_go()
    found = ", ".join(
        f"{path} is {'.'.join(map(str, version or ('broken',)))}" for path, version in versions.items()
    )
    needed = ".".join(map(str, GO_MINIMUM))
    raise MissingToolError(
        f"Go {needed} or newer is needed to build the cluster's programs ({found or 'no go on the PATH'}): "
        f"install it from https://go.dev/dl/ into /usr/local/go"
    )


def _gos() -> Iterator[str]:
    on_path = commands.find("go")
    if on_path:
        yield on_path
    places = [Path("/usr/local/go/bin/go"), *sorted(Path("/usr/lib").glob("go-1.*/bin/go"), reverse=True)]
    yield from (str(place) for place in places if place.exists() and str(place) != on_path)


def go_version(go: str) -> tuple[int, ...] | None:
    """Return the version of a Go, such as (1, 24), or None if it does not run."""
    try:
        # Asked in a directory without go.mod, which could make it switch to another version.
        return parse_version(commands.run([go, "version"], env={"GOTOOLCHAIN": "local"}, cwd=Path("/")))
    except (CommandError, MissingToolError):
        return None


def parse_version(text: str) -> tuple[int, ...] | None:
    """Find the first major.minor version in a text."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def tool(name: str) -> Path:
    """Return the path of a client program: the pinned one, or one on the search path where Go is missing."""
    try:
        return binary(name)
    except MissingToolError:
        installed = commands.find(name)
        if installed is None:
            raise
        return Path(installed)
