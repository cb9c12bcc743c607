"""Scanners of others: each is called with an argument list, and its JSON is read strictly."""
