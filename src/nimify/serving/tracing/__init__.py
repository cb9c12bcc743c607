"""Traces: each request as a span of OpenTelemetry, with what it went through below it; loaded only when asked for."""
