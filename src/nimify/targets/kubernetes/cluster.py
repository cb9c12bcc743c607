"""A namespace of a cluster, through `kubectl` and its JSON."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.errors import ConfigError
from nimify.programs import Program, ProgramFailed, end

Document = dict[str, Any]
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(?P<port>\d+) ->")
_NAMESPACE: Final = re.compile(r"|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TAIL: Final = 20
_MANAGER: Final = "nimify"
"""Whose the fields are that we apply."""


def check_namespace(name: str) -> None:
    """Refuse what kubectl and Helm would read as something else than a namespace; empty is the usual one.

    Raises:
        ConfigError: It is none.
    """
    if not _NAMESPACE.fullmatch(name):
        raise ConfigError(f"'{name}' is no namespace.", field="--namespace")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A namespace of the cluster that `kubectl` talks to (KUBECONFIG).

    Every method raises `ProgramFailed` with the API server's words.

    Attributes:
        namespace: Empty for that of the current context.
        program: `kubectl`.
    """

    namespace: str = ""
    program: Program = field(default_factory=lambda: Program("kubectl"))

    def version(self) -> str:
        """The version of the API server, e.g. `v1.34.1`."""
        found: Document = self.program.json("version", "--output=json", "--request-timeout=10s", timeout_s=20.0)
        return str(found["serverVersion"]["gitVersion"])

    def current_namespace(self) -> str:
        """The namespace that is meant."""
        if self.namespace:
            return self.namespace
        template = "--output=jsonpath={.contexts[0].context.namespace}"
        return self.program.run("config", "view", "--minify", template).strip() or "default"

    def may(self, verb: str, resource: str) -> bool:
        """Whether we may do that in the namespace; a resource may have a part, as in `pods/log`."""
        whole, _, part = resource.partition("/")
        # What stands behind a slash is the name of an object to kubectl.
        options = [f"--subresource={part}"] if part else []
        try:
            return self._run("auth", "can-i", verb, whole, *options).strip() == "yes"
        except ProgramFailed as error:
            # "no", with or without a reason; an API server that erred ends with 1 as well, and says so.
            if error.code == 1 and not error.says("error"):
                return False
            raise

    def kinds(self, api_version: str) -> set[str]:
        """The kinds that the cluster knows of an API version, e.g. `monitoring.coreos.com/v1`."""
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            found: Document = self.program.json("get", f"--raw={path}")
        except ProgramFailed as error:
            if error.says("notfound", "not found", "could not find"):
                return set()
            raise
        return {str(resource["kind"]) for resource in found.get("resources", [])}

    def find(self, resource: str, selector: str) -> list[Document]:
        """Objects by label."""
        found: Document = self._json("get", resource, f"--selector={selector}")
        return list(found.get("items", []))

    def events(self, name: str) -> list[Document]:
        """The events of an object, the newest last."""
        found: Document = self._json("get", "events", f"--field-selector=involvedObject.name={name}")
        return sorted(found.get("items", []), key=_happened)

    def get(self, resource: str, name: str) -> Document | None:
        """One object; `None` when there is none."""
        text = self._run("get", resource, name, "--ignore-not-found", "--output=json")
        if not text.strip():
            return None
        found: Document = json.loads(text)
        return found

    def create(self, document: Document) -> None:
        """Create an object that must not exist."""
        self._run("create", "--filename=-", stdin=json.dumps(document))

    def replace(self, document: Document) -> None:
        """Replace an object; fails when somebody else did so since it was read."""
        self._run("replace", "--filename=-", stdin=json.dumps(document))

    def apply(self, document: Document, *, dry_run: bool = False) -> Document:
        """Let the server bring an object to what is given; the object as it is then, or would be."""
        options = ["--dry-run=server"] if dry_run else []
        arguments = ("apply", "--server-side", f"--field-manager={_MANAGER}", *options)
        found: Document = json.loads(self._run(*arguments, "--filename=-", "--output=json", stdin=json.dumps(document)))
        return found

    def delete(self, resource: str, name: str) -> None:
        """Delete an object, if it is there."""
        self._run("delete", resource, name, "--ignore-not-found", "--wait=false")

    def pod_log(self, pod: str, *, previous: bool = False) -> tuple[str, ...]:
        """The last lines of a pod; none when it has none."""
        options = ["--previous"] if previous else []
        try:
            return tuple(self._run("logs", pod, f"--tail={_TAIL}", *options).splitlines())
        except ProgramFailed:
            return ()

    def logs(self, selector: str, *, lines: int, follow: bool) -> Iterator[str]:
        """The last lines of all pods of a service, and what they go on to write."""
        options = ["--follow", "--max-log-requests=50"] if follow else []
        arguments = ("logs", f"--selector={selector}", f"--tail={lines}", "--prefix", *options)
        return self.program.lines(*self._namespaced(arguments))

    def pod_metrics(self, pod: str, port: int, path: str) -> str:
        """What a pod answers, through the API server."""
        address = f"/api/v1/namespaces/{self.current_namespace()}/pods/{pod}:{port}/proxy{path}"
        return self.program.run("get", f"--raw={address}", timeout_s=10.0)

    @contextmanager
    def forwarded(self, pod: str, port: int) -> Iterator[str]:
        """A URL on this machine that leads to a pod, for as long as this lasts."""
        process = self.program.start(
            *self._namespaced(("port-forward", f"pod/{pod}", f":{port}", "--address=127.0.0.1"))
        )
        try:
            yield f"http://127.0.0.1:{_forwarded_port(process)}"
        finally:
            end(process)

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        return self.program.run(*self._namespaced(arguments), stdin=stdin)

    def _json(self, *arguments: str) -> Document:
        found: Document = self.program.json(*self._namespaced(arguments), "--output=json")
        return found

    def _namespaced(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return (*arguments, f"--namespace={self.namespace}") if self.namespace else arguments


def _happened(event: Document) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime"))


def _forwarded_port(process: subprocess.Popen[bytes]) -> str:
    said = ""
    for line in process.stdout or ():
        text = line.decode("utf-8", "replace").strip()
        if match := _FORWARDING.search(text):
            return match["port"]
        said = text or said
    raise ProgramFailed(said or "kubectl port-forward ended", code=process.wait())
