"""What may be wrong with a model, an image or its configuration: found by us and by the scanners of others."""
