"""What executes a model: the contract of an engine, and the one that is embedded."""
