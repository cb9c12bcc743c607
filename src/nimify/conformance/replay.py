"""The child process that replays golden requests: `python -m nimify.conformance.replay`.

It reads `{"bundle": path}` from standard input and writes a check's result to `result.json`, as `run_guarded` expects.
A model that crashes or hangs takes only this process with it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nimify import plugins
from nimify.analysis.guarded import RESULT_FILE
from nimify.artifacts.bundle import Bundle
from nimify.artifacts.comparison import compare_outputs
from nimify.artifacts.golden import Golden
from nimify.conformance.report import CheckResult, failed, passed
from nimify.errors import NimifyError
from nimify.serving.engines.engine import Engine, EngineRefused
from nimify.serving.spec import ServiceSpec

_NAME = "golden"


def replay(engine: Engine, service: ServiceSpec, golden: Golden) -> CheckResult:
    """Run every golden request in an engine, and compare the answers with the recorded ones."""
    names = [spec.name for spec in service.signature.outputs]
    for recorded in golden.cases:
        case = recorded.case
        try:
            outputs = dict(zip(names, engine.run(case.inputs, names), strict=True))
        except EngineRefused:
            return failed(_NAME, f"The model refuses the golden request '{case.name}', which it once answered.")
        difference = compare_outputs(service.signature.outputs, case.outputs, outputs, golden.tolerances)
        if difference is not None:
            return failed(
                _NAME,
                f"The answer to '{case.name}' is another one than recorded. {difference}",
                "If the new answers are right, record them with: nimify create MODEL --force",
            )
    return passed(_NAME, f"All {len(golden.cases)} golden requests are answered as recorded.")


def _replay_bundle(bundle: Bundle) -> CheckResult:
    service, golden = bundle.service, bundle.golden()
    model_file = bundle.path / service.model_file
    engine: Engine = plugins.find(plugins.ENGINES, service.engine).load().load(model_file, threads=1)
    return replay(engine, service, golden or Golden("", {}, ()))


def main() -> None:
    """Read the job, carry it out, write the result."""
    try:
        result = _replay_bundle(Bundle.open(Path(json.load(sys.stdin)["bundle"]))).to_dict()
    except NimifyError as error:
        result = {"error": {"cause": getattr(error, "cause", error.message), "remedy": error.remedy}}
    Path(RESULT_FILE).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
