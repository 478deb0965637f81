"""The command line: ``python -m tests.cluster up|down|status|load|build|image|bin|kubeconfig|logs``.

Results go to standard output, progress and errors to standard error. Exit codes: 0, 1 for a failure, 2 for a
command line that makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.cluster import providers, toolchain
from tests.cluster.errors import ClusterError, UsageError
from tests.cluster.progress import say
from tests.cluster.provider import AUTO, PROVIDERS, Build, Provider, Status
from tests.cluster.stock import STOCK

TOOLS = ("kubectl", "helm", "kubeconform")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--name",
        default=os.environ.get("TASKYARD_CLUSTER", "taskyard"),
        help="the cluster's name (default: $TASKYARD_CLUSTER or %(default)s)",
    )
    common.add_argument(
        "--provider",
        choices=(AUTO, *PROVIDERS),
        default=os.environ.get("TASKYARD_PROVIDER", AUTO),
        help="who makes clusters (default: $TASKYARD_PROVIDER, or the first of %(choices)s that works here)",
    )
    top = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A real Kubernetes for the tests."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up", parents=[common], help="make a cluster, or mend it; does nothing if it is well"
    )
    up.add_argument("--nodes", type=_positive, default=1, help="at least so many nodes (default: 1)")
    down = commands.add_parser("down", parents=[common], help="remove a cluster and all that it left")
    down.add_argument("--all", action="store_true", help="remove every cluster that was made here")
    status = commands.add_parser(
        "status", parents=[common], help="say how a cluster is; exit code 1 if not well"
    )
    status.add_argument("--json", action="store_true", help="print it as JSON")
    load = commands.add_parser("load", parents=[common], help="make images known to all nodes")
    load.add_argument("images", nargs="+", metavar="IMAGE")
    build = commands.add_parser("build", parents=[common], help="build an image and print its name")
    build.add_argument("-f", "--file", type=Path, help="the Dockerfile (default: CONTEXT/Dockerfile)")
    build.add_argument("-t", "--tag", required=True, help="the image's name")
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", type=_pair)
    build.add_argument("--load", action="store_true", help="and load it into the cluster")
    build.add_argument("context", type=Path, metavar="CONTEXT")
    image = commands.add_parser(
        "image",
        parents=[common],
        help="print the name of a stock image, after making it and loading it if it can be",
    )
    image.add_argument("image", choices=sorted(STOCK))
    binary = commands.add_parser(
        "bin", parents=[common], help="print where a tool is, after building it if need be"
    )
    binary.add_argument("tool", choices=TOOLS)
    config = commands.add_parser("kubeconfig", parents=[common], help="print where the kubeconfig is")
    config.add_argument("--raw", action="store_true", help="print its content")
    logs = commands.add_parser("logs", parents=[common], help="show the ends of all logs, or collect them")
    logs.add_argument("-o", "--output", type=Path, metavar="DIRECTORY", help="copy them here")
    logs.add_argument("--lines", type=_positive, default=20, help="how much to show (default: 20)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except UsageError as error:
        say(f"error: {error}")
        return 2
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say("interrupted; the next `up` starts over")
        return 1


def _provider(options: argparse.Namespace) -> Provider:
    return providers.for_cluster(options.name, options.provider)


def _up(options: argparse.Namespace) -> int:
    _provider(options).up(options.name, options.nodes)
    return 0


def _down(options: argparse.Namespace) -> int:
    if not options.all:
        _provider(options).down(options.name)
        return 0
    for provider in providers.usable(options.provider):
        for name in provider.names():
            provider.down(name)
    return 0


def _status(options: argparse.Namespace) -> int:
    status = _provider(options).status(options.name)
    print(json.dumps(asdict(status), indent=2) if options.json else describe(status))
    return 0 if status.healthy else 1


def describe(status: Status) -> str:
    """Return a status as lines for a person."""
    lines = [f"{status.name} ({status.provider}): {'well' if status.healthy else status.message}"]
    lines += [f"  node {node.name}: {'ready' if node.ready else 'not ready'}" for node in status.nodes]
    if status.kubeconfig:
        lines.append(f"  kubeconfig: {status.kubeconfig}")
    lines += [f"  {name}: {value}" for name, value in status.facts.items()]
    return "\n".join(lines)


def _load(options: argparse.Namespace) -> int:
    _provider(options).load(options.name, options.images)
    return 0


def _build(options: argparse.Namespace) -> int:
    if not options.context.is_dir():
        raise UsageError(f"the context {options.context} is no directory")
    dockerfile = options.file or options.context / "Dockerfile"
    if not dockerfile.is_file():
        raise UsageError(f"there is no {dockerfile}: name the Dockerfile with -f")
    provider = _provider(options)
    build = Build(options.tag, options.context, dockerfile, dict(options.build_arg))
    image = provider.build(build)
    if options.load:
        provider.load(options.name, [image])
    print(image)
    return 0


def _image(options: argparse.Namespace) -> int:
    provider = _provider(options)
    image = provider.image(options.image)
    if provider.status(options.name).healthy:
        provider.load(options.name, [image])
    print(image)
    return 0


def _bin(options: argparse.Namespace) -> int:
    print(toolchain.tool(options.tool))
    return 0


def _kubeconfig(options: argparse.Namespace) -> int:
    path = _provider(options).kubeconfig(options.name)
    print(path.read_text() if options.raw else path)
    return 0


def _logs(options: argparse.Namespace) -> int:
    provider = _provider(options)
    if options.output:
        provider.logs(options.name, options.output)
        print(options.output)
    else:
        providers.show_logs(provider, options.name, options.lines)
    return 0


_COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "load": _load,
    "build": _build,
    "image": _image,
    "bin": _bin,
    "kubeconfig": _kubeconfig,
    "logs": _logs,
}


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
