"""Hands the Prometheus Operator's configuration to the Prometheus that runs, as the operator's reloader does in a pod.

python -m tools.cluster.prometheus_config STATE PORTS
"""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tools.cluster.layout import MONITORING, Layout
from tools.cluster.monitoring import INSTANCE
from tools.cluster.programs import program

_EVERY_S: Final = 2.0
_RULES: Final = "/etc/prometheus/rules"
"""Where the operator mounts rules in its pods."""
_VARIABLES: Final = {"$(SHARD)": "0", "$(POD_NAME)": f"prometheus-{INSTANCE}-0"}
"""What the operator's reloader fills in: of how many shards this is which, in which pod."""


def main(state: str, ports: str) -> None:
    """Look again and again, and reload Prometheus when something changed."""
    layout = Layout(Path(state), json.loads(ports))
    known: dict[Path, str] = {}
    while True:
        wanted = _wanted(layout)
        if wanted and wanted != known and _reloaded(layout, wanted, known):
            known = wanted
        time.sleep(_EVERY_S)


def _wanted(layout: Layout) -> dict[Path, str]:
    """The files that Prometheus should have; none while the operator has written no configuration."""
    secret = _get(layout, "secret", f"prometheus-{INSTANCE}")
    packed = secret.get("data", {}).get("prometheus.yaml.gz")
    if packed is None:
        return {}
    rules = layout.state / "rules"
    text = gzip.decompress(base64.b64decode(packed)).decode("utf-8")
    for placeholder, value in {**_VARIABLES, _RULES: str(rules)}.items():
        text = text.replace(placeholder, value)
    files = {layout.state / "prometheus.yaml": text}
    for item in _get(layout, "configmaps", f"--selector=prometheus-name={INSTANCE}").get("items", []):
        files |= {rules / item["metadata"]["name"] / name: text for name, text in item.get("data", {}).items()}
    return files


def _reloaded(layout: Layout, wanted: dict[Path, str], known: dict[Path, str]) -> bool:
    """Write the files, remove those that are no more, and let Prometheus read them."""
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in known.keys() - wanted.keys():
        path.unlink(missing_ok=True)
    try:
        with urllib.request.urlopen(f"{layout.prometheus}/-/reload", data=b"", timeout=30):  # noqa: S310
            return True
    except (OSError, urllib.error.URLError) as error:
        sys.stderr.write(f"Prometheus does not take its configuration: {error}\n")
        return False


def _get(layout: Layout, *what: str) -> dict[str, Any]:
    command = [program("kubectl"), f"--kubeconfig={layout.kubeconfig('monitoring')}", f"--namespace={MONITORING}"]
    done = subprocess.run([*command, "get", *what, "--output=json"], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
