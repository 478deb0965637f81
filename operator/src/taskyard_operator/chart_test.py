"""``python -m taskyard_operator.chart_test``: what ``helm test`` runs, a TaskQueue from start to end.

It needs the rights to get, create and delete TaskQueues in one namespace, and no more.
"""

import argparse
import json
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskyard_operator.api.names import API_VERSION, TASKQUEUE_KIND, TASKQUEUE_PLURAL, ConditionType

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"

JSON = dict[str, Any]


class ChartTestFailedError(Exception):
    """The installation does not work; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Api:
    """The API server, as far as one namespace's TaskQueues go."""

    server: str
    token: str
    context: ssl.SSLContext | None
    namespace: str

    @classmethod
    def in_cluster(cls, namespace: str) -> "Api":
        """Use the pod's own ServiceAccount."""
        try:
            token = (ACCOUNT / "token").read_text().strip()
            context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        except OSError as error:
            raise ChartTestFailedError(f"this runs in a pod with a ServiceAccount only: {error}") from error
        return cls(SERVER, token, context, namespace)

    def call(self, method: str, name: str = "", body: JSON | None = None) -> JSON | None:
        """Make a request; None where there is no such object."""
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{TASKQUEUE_PLURAL}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is fixed above
            f"{self.server}{path}/{name}".rstrip("/"),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:  # noqa: S310
                found: JSON = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == "GET":
                return None
            said = _words(error.read())
            raise ChartTestFailedError(
                f"the API server refused to {method} {path}: {error.code} {said}"
            ) from error
        except OSError as error:
            raise ChartTestFailedError(f"no answer from the API server at {self.server}: {error}") from error


def run(api: Api, *, ready: bool, timeout: float) -> str:
    """Make a TaskQueue, wait for the operator to deal with it, delete it; return a line to print.

    Raises:
        ChartTestFailedError: if the operator did not do its part within ``timeout`` seconds.
    """
    name = f"chart-test-{secrets.token_hex(3)}"
    deadline = time.monotonic() + timeout
    manifest = {
        "apiVersion": API_VERSION,
        "kind": TASKQUEUE_KIND,
        "metadata": {"name": name},
        # Nothing of the test stays at the broker. Without a broker there is nothing to remove either, and the
        # TaskQueue must not wait for one.
        "spec": {"deletionPolicy": "Purge" if ready else "Retain"},
    }
    api.call("POST", body=manifest)
    try:
        said = _wait_until_seen(api, name, ready=ready, deadline=deadline)
    finally:
        api.call("DELETE", name)
    while api.call("GET", name) is not None:
        if time.monotonic() > deadline:
            raise ChartTestFailedError(f"TaskQueue {api.namespace}/{name} was not deleted in {timeout:.0f} s")
        time.sleep(0.5)
    return f"TaskQueue {name}: {said}; deleted"


def _wait_until_seen(api: Api, name: str, *, ready: bool, deadline: float) -> str:
    said = "the operator has not touched it: is its pod running?"
    while time.monotonic() <= deadline:
        found = api.call("GET", name) or {}
        conditions = {entry["type"]: entry for entry in found.get("status", {}).get("conditions", [])}
        condition = conditions.get(ConditionType.READY)
        if condition is not None:
            said = f"Ready={condition['status']} {condition['reason']} {condition.get('message', '')}".strip()
            if condition["status"] == "True" or not ready:
                return said
        time.sleep(0.5)
    raise ChartTestFailedError(f"TaskQueue {api.namespace}/{name} did not become Ready: {said}")


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]


def main(arguments: list[str] | None = None) -> int:
    """Run the test; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m taskyard_operator.chart_test", description=__doc__)
    parser.add_argument("--namespace", required=True, help="where to make the TaskQueue")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait (default: %(default)s)")
    parser.add_argument("--ready", action="store_true", help="there is a broker: the TaskQueue must be Ready")
    options = parser.parse_args(arguments)
    try:
        line = run(Api.in_cluster(options.namespace), ready=options.ready, timeout=options.timeout)
    except ChartTestFailedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
