"""Answers that are remembered: equal requests are answered without running the model again."""
