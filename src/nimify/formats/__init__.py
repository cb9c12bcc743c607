"""Recognises model files and reads what they say of themselves, without running them or loading their weights."""
