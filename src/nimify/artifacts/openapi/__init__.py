"""openapi.json: what the service speaks, as OpenAPI 3.1, in the model's own names and shapes."""
