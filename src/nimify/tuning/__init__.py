"""Which settings serve a bundle best on this machine: measured, repeated against the noise, and with the reason."""
