"""What watches a service: Prometheus rules with their tests, a Grafana dashboard, and a runbook for every alert."""
