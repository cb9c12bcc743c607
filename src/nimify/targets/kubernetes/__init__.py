"""The `kubernetes` target: the bundle's chart as a Helm release, whose rollout nimify watches, proves and undoes."""
