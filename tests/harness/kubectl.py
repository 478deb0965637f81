"""kubectl as a function, on one cluster and in one namespace."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

JSON = dict[str, Any]


class KubectlError(RuntimeError):
    """A kubectl command that failed, with what it said."""


class NotInTimeError(AssertionError):
    """Something that was waited for did not happen in its time."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Calls one kubectl binary with one kubeconfig; ``namespace`` is the default of every call."""

    binary: Path
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> "Kubectl":
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def command(self, *args: str) -> list[str]:
        """The whole command line of a call."""
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *args]

    def __call__(
        self, *args: str, input: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run and wait; raises KubectlError with kubectl's own words when it fails and ``check`` is set."""
        done = subprocess.run(self.command(*args), input=input, text=True, capture_output=True, check=False)
        if check and done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def apply(self, *manifests: JSON) -> None:
        """Apply manifests server-side, as one list."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(listed))

    def get(self, kind: str, name: str) -> JSON | None:
        """One object, or None where there is none."""
        done = self("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def list(self, kind: str, selector: str = "") -> Sequence[JSON]:
        """All objects of a kind, by a label selector."""
        found = self("get", kind, "-o", "json", *(["-l", selector] if selector else []))
        items: list[JSON] = json.loads(found.stdout)["items"]
        return items

    def until(
        self, kind: str, name: str, true: Callable[[JSON], bool], seconds: float = 60, what: str = ""
    ) -> JSON:
        """Wait until an object satisfies ``true`` and return it."""
        reached: JSON = until(
            lambda: (found := self.get(kind, name)) and true(found) and found,
            seconds,
            what or f"{kind}/{name}",
            lambda: json.dumps((self.get(kind, name) or {}).get("status"), indent=1),
        )
        return reached


def until(
    probe: Callable[[], Any],
    seconds: float,
    what: str,
    explain: Callable[[], str] = lambda: "",
    every: float = 0.5,
) -> Any:
    """Call ``probe`` until it gives something true; NotInTimeError after ``seconds`` names ``what``."""
    deadline = monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if monotonic() > deadline:
            raise NotInTimeError(f"waited {seconds:.0f} s for {what}; last seen: {explain()}")
        sleep(every)


def condition(found: JSON, type: str) -> JSON:
    """A condition of an object's status, or an empty one."""
    for entry in found.get("status", {}).get("conditions", []):
        if entry["type"] == type:
            held: JSON = entry
            return held
    return {}
