"""How much this service may remember."""

from __future__ import annotations

from nimify.errors import ConfigError
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec

_FIELD = "NIMIFY_RESPONSE_CACHE"


def response_cache_bytes(spec: ServiceSpec, settings: ServiceSettings) -> int:
    """Bytes for the answers that are remembered: what was asked for here, or else the bundle's; 0 for none.

    Raises:
        ConfigError: It was asked for, and this model's answers must not be remembered, or Triton was not told to.
    """
    asked = settings.response_cache
    if not asked:
        return spec.response_cache_bytes if asked is None else 0
    if not spec.repeatable:
        raise ConfigError(
            f"the plan does not say that '{spec.name}' answers equal requests equally, so nothing may be remembered.",
            field=_FIELD,
            remedy="Leave it out; if the bundle is an old one, write it again with: nimify create",
        )
    if settings.triton is not None and not spec.response_cache_bytes:
        raise ConfigError(
            "the bundle's config.pbtxt does not tell Triton to remember the answers of this model.",
            field=_FIELD,
            remedy="Set response_cache.size in nimify.yaml, and run: nimify create",
        )
    return asked
