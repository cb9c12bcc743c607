"""What serving did, as numbers: a fixed catalog, cells in shared memory, Prometheus text."""
