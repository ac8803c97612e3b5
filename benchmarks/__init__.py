"""Measurements at gelu-1l's full size, each a ratio of things timed side by side; see docs/performance.md."""
