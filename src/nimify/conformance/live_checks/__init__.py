"""The checks of a live service; `nimify.conformance.live` runs them in order."""
