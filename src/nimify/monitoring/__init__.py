"""How a running service does, read from the metrics of its replicas; data only, no terminal."""
