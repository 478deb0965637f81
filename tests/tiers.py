"""Runs the test tiers one after the other and closes with one line of passed and failed.

``python -m tests.tiers unit integration e2e``: the cluster of the e2e tier is brought up in the background
while the tiers before it run, and is taken down at the end. KEEP=1 leaves it up for the next run.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from time import monotonic

from tests.cluster.errors import ClusterError
from tests.stores import mongodb

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "tests"

#: What pytest is told for each tier, run by run. The integration and e2e tests mostly wait, so that several
#: share the two processors; those of the test cluster itself follow each other on one cluster.
RUNS = {
    "unit": [["tests/unit", "-n", "2"]],
    "integration": [["tests/integration", "-n", "6", "--dist", "loadfile"]],
    "conformance": [["tests/conformance", "-m", "not slow", "-n", "2"]],
    "e2e": [
        ["tests/e2e", "--ignore=tests/e2e/cluster", "-n", "5", "--dist", "loadgroup"],
        ["tests/e2e/cluster"],
    ],
}
#: Programs that the integration tests start, and the Debian packages that bring them.
SERVERS = {
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "memcached": "memcached",
    "mariadbd": "mariadb-server",
    "pg_ctlcluster": "postgresql",
    "openssl": "openssl",
}


def install_servers() -> None:
    """Install the brokers that are missing, or say how to."""
    missing = [package for program, package in SERVERS.items() if not shutil.which(program)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"the integration tests need {', '.join(missing)}: run '{' '.join(command)}' as root")
    print(f"installing {', '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, stdout=subprocess.DEVNULL)
    # The packages start servers of their own: the tests bring theirs, on free ports.
    subprocess.run(command, check=True, env={**quiet, "RUNLEVEL": "1"}, stdout=subprocess.DEVNULL)


def build_mongodb() -> None:
    """Build the one server that no package brings."""
    try:
        mongodb.program()
    except ClusterError as error:
        sys.exit(f"the integration tests need a server for MongoDB's protocol: {error}")


def run(tier: str, number: int, arguments: list[str]) -> tuple[int, int, int]:
    """Run a part of a tier; returns the numbers of passed, failed and skipped tests."""
    report = BUILD / f"{tier}-{number}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *arguments, "-q", f"--junit-xml={report}"]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not report.exists():
        return 0, 1, 0
    passed = failed = skipped = 0
    for suite in ET.parse(report).getroot().iter("testsuite"):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
        failed += bad
        passed += int(suite.get("tests", 0)) - bad - int(suite.get("skipped", 0))
    return passed, failed if failed or not code else 1, skipped


def main(tiers: list[str]) -> int:
    """Run the tiers that are named."""
    unknown = [tier for tier in tiers if tier not in RUNS]
    if unknown or not tiers:
        sys.exit(f"usage: python -m tests.tiers {'|'.join(RUNS)} ...")
    BUILD.mkdir(parents=True, exist_ok=True)
    if {"integration", "conformance", "e2e"} & set(tiers):
        install_servers()
    if "integration" in tiers:
        build_mongodb()
    preparing = None
    if "e2e" in tiers:
        log = (BUILD / "prepare.log").open("w")
        preparing = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.prepare"], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    passed = failed = skipped = 0
    try:
        for tier in tiers:
            started = monotonic()
            if tier == "e2e" and preparing:
                print(
                    f"e2e: waiting for the cluster and the images (log: {BUILD / 'prepare.log'})", flush=True
                )
                if preparing.wait():
                    print((BUILD / "prepare.log").read_text()[-3000:])
                    failed += 1
                    break
                print(f"e2e: cluster and images ready after {monotonic() - started:.0f} s more", flush=True)
            parts = [run(tier, number, arguments) for number, arguments in enumerate(RUNS[tier])]
            counts = [sum(part[column] for part in parts) for column in range(3)]
            passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
            print(
                f"{tier}: {counts[0]} passed, {counts[1]} failed in {monotonic() - started:.0f} s", flush=True
            )
    finally:
        if preparing:
            if preparing.poll() is None:
                preparing.terminate()
                preparing.wait()
            if not os.environ.get("KEEP"):
                subprocess.run([sys.executable, "-m", "tests.e2e.prepare", "--down"], cwd=ROOT, check=False)
    print(f"tests: {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
