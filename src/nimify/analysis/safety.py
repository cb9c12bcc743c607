"""What about a model file deserves a second look before it is trusted: its metadata and its sizes.

Nothing here runs or loads anything. A finding names what was found and where, and never repeats what looks like a
secret: findings end up in terminals, in CI logs and in plan.json. What lies beside the file is in `siblings.py`, and
operators of unknown domains are the format's own finding (`onnx.custom-operators`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from nimify.analysis.graph import InferredGraph
from nimify.errors import one_line, shortened
from nimify.findings import Finding, Severity
from nimify.formats.format import ModelInfo

LARGE_TENSOR_BYTES: Final = 2 << 30
LONG_NAME: Final = 256
MANY_NODES: Final = 20_000

_SECRETS: Final[Mapping[str, re.Pattern[str]]] = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{30,255})\b"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,64}\b"),
    "an NVIDIA API key": re.compile(r"\bnvapi-[A-Za-z0-9_-]{40,128}"),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,255}"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,1000}\."),
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"),
    "a password in a URL": re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:[^\s/:@]{1,100}@"),
    "a password or key": re.compile(
        r"(?i)\b(?:password|passwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token)\b[\"']?\s{0,5}[:=]\s{0,5}[\"']?[^\s\"']{6,}"
    ),
}
_SECRET_KEY: Final = re.compile(r"(?i)(?:^|[_.-])(?:password|passwd|secret|api[_-]?key|credentials?)$")
_TOKEN_KEY: Final = re.compile(r"(?i)(?:^|[_.-])token$")
_TOKEN_VALUE: Final = re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9_.=-]{16,512}")
"""What could be a token of access; `eos_token` and its like are text such as `<|endoftext|>`."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/_=-]{32,512}")
_SECRET_ENTROPY: Final = 4.5
"""Bits per character; words, paths, UUIDs and hex digests stay below, random base64 of some length lies above."""

_CODE: Final[Mapping[str, re.Pattern[str]]] = {
    "Python code": re.compile(
        r"\b(?:__import__|eval|exec|os\.system|os\.popen|pickle\.loads?|marshal\.loads?)\s{0,3}\(|\bsubprocess\."
        r"|(?:^|[\n;])\s{0,20}(?:import [A-Za-z_.]{1,100}\s{0,3}(?:$|[\n;])|from [A-Za-z_.]{1,100} import )"
        r"|(?:^|\n)\s{0,20}def \w{1,100}\("
    ),
    "a shell command": re.compile(r"\$\([^)\n]{1,500}\)|(?:^|\n)#!|\b(?:curl|wget)\s[^\n|]{1,500}\|\s{0,5}(?:ba)?sh\b"),
    "a template": re.compile(r"\{\{[^{}\n]{1,500}\}\}|\{%[^{}\n]{1,500}%\}"),
    "a web script": re.compile(r"(?i)<script\b|javascript:"),
    "a pickle": re.compile(r"\bgA[NRSV][A-Za-z0-9+/]{12,}"),
}
_URL: Final = re.compile(r"\b(?:https?|ftp|s3|gs)://[^\s\"'<>\\]{4,500}")


def metadata_findings(metadata: Mapping[str, str]) -> Iterator[Finding]:
    """What the free text in a file holds that it should not: secrets, code; and addresses, for information."""
    urls = []
    for number, (key, value) in enumerate(metadata.items(), 1):
        shown = _shown(key, number)
        secret = _secret(key, value)
        if secret is not None:
            yield Finding(
                "safety.metadata-secret",
                Severity.WARNING,
                f"The metadata {shown} seems to hold {secret}.",
                "Revoke it, and export the model without it: whoever has the file has the secret.",
            )
        code = next((name for name, pattern in _CODE.items() if pattern.search(value)), None)
        if code is not None:
            yield Finding(
                "safety.metadata-code",
                Severity.WARNING,
                f"The metadata {shown} looks like {code}; nimify never runs or renders it.",
                "Make sure that no other tool does, or remove it with onnx: del model.metadata_props[:].",
            )
        urls += [shown] if _URL.search(value) else []
    if urls:
        yield Finding(
            "safety.metadata-url",
            Severity.INFO,
            f"The metadata holds addresses ({', '.join(urls[:3])}{' and more' if len(urls) > 3 else ''}).",
            "Nothing fetches them; check that they give nothing away.",
        )


def external_data_findings(model: ModelInfo) -> Iterator[Finding]:
    """That the weights, or some of them, lie in files of their own."""
    external = model.files[1:]
    if external:
        size = sum(file.size_bytes for file in external)
        yield Finding(
            "safety.external-data",
            Severity.INFO,
            f"The model keeps {size:,} bytes of weights in {len(external)} other files, "
            f"'{shortened(one_line(external[0].location))}' first; all lie in its own folder.",
            "Move, sign and check them together with the model file; the bundle's manifest lists each.",
        )


def size_findings(graph: InferredGraph) -> Iterator[Finding]:
    """Sizes and names far outside what exporters write."""
    largest = max(
        (value for value in graph.values.values() if value.stored and value.size_bytes is not None),
        key=lambda value: value.size_bytes or 0,
        default=None,
    )
    if largest is not None and (largest.size_bytes or 0) > LARGE_TENSOR_BYTES:
        yield Finding(
            "safety.large-tensor",
            Severity.WARNING,
            f"The stored tensor '{shortened(one_line(largest.name))}' alone has {largest.size_bytes:,} bytes.",
            "Make sure that it belongs to the model; a file can claim sizes that exhaust memory.",
        )
    if len(graph.nodes) > MANY_NODES:
        yield Finding(
            "safety.many-nodes",
            Severity.INFO,
            f"The graph has {len(graph.nodes):,} nodes; loading it will take long.",
            "Check that no loop was unrolled by the export.",
        )
    longest = max((*graph.values, *(node.name for node in graph.nodes)), key=len, default="")
    if len(longest) > LONG_NAME:
        yield Finding(
            "safety.long-names",
            Severity.WARNING,
            f"A name has {len(longest):,} characters: '{shortened(one_line(longest), 60)}'.",
            "No exporter writes such names; find out who made this file.",
        )


def _secret(key: str, value: str) -> str | None:
    """What kind of secret a metadata entry seems to hold; `None` when it holds none."""
    for text in (value, key):
        known = next((name for name, pattern in _SECRETS.items() if pattern.search(text)), None)
        if known is not None:
            return known
    if _SECRET_KEY.search(key) and 6 <= len(value.strip()) <= 512 and " " not in value.strip():
        return "a password or key"
    if _TOKEN_KEY.search(key) and _TOKEN_VALUE.fullmatch(value.strip()):
        return "a token"
    if any(_looks_random(token) for token in _TOKEN.findall(value)):
        return "a random key"
    return None


def _looks_random(token: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(map(kind, token)) for kind in kinds) and token.count("/") < 4 and _entropy(token) > _SECRET_ENTROPY


def _entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _shown(key: str, number: int) -> str:
    """How to name a metadata entry: by its key, unless the key is what must not be shown."""
    hidden = any(pattern.search(key) for pattern in _SECRETS.values()) or any(map(_looks_random, _TOKEN.findall(key)))
    return f"entry {number}" if hidden else f"'{shortened(one_line(key), 60)}'"
