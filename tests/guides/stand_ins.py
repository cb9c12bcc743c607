"""Stand-ins for the tools of clouds and operators, in the place of the real ones; see the tests of the targets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import yaml
from tests.guides.pages import ROOT

_FAKES: Final = ROOT / "tests" / "unit" / "targets"
CLOUDS: Final = {
    "cloud-run": "europe-docker.pkg.dev/acme/models/digits:1.0.0",
    "vertex": "europe-docker.pkg.dev/acme/models/digits:1.0.0",
    "sagemaker": "",
    "azureml": "",
}
"""The clouds, and the image that the build before them made; empty where the page names another."""
OPERATORS: Final = ("kserve", "nim-operator")
PORT: Final = 18000
"""Where the real service is that answers for the stand-in."""
_KINDS: Final = {
    "apps.nvidia.com/v1alpha1": ["NIMService"],
    "serving.kserve.io/v1beta1": ["InferenceService"],
    "monitoring.coreos.com/v1": ["ServiceMonitor"],
}


def clouds(folder: Path) -> dict[str, str]:
    """Install `aws`, `gcloud` and `az` into a folder; the environment that they want."""
    _install(folder, "fake_vendors.py", ("aws", "gcloud", "az"))
    state = folder / "cloud.json"
    state.write_text(json.dumps({"port": PORT, "lag": 1}), encoding="utf-8")
    libraries = str(Path(yaml.__file__).parents[1])
    return {"FAKE_CLOUD": str(state), "FAKE_LIBRARIES": libraries}


def operators(folder: Path) -> dict[str, str]:
    """Install `kubectl` into a folder; the environment that it wants."""
    _install(folder, "fake_operator.py", ("kubectl",))
    state = folder / "cluster.json"
    state.write_text(json.dumps({"port": PORT, "kinds": _KINDS}), encoding="utf-8")
    return {"FAKE_CLUSTER": str(state)}


def _install(folder: Path, source: str, names: tuple[str, ...]) -> None:
    folder.mkdir()
    text = f"#!{sys.executable} -SE\n{(_FAKES / source).read_text(encoding='utf-8')}"
    for name in names:
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
