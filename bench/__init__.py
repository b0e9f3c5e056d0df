"""Longer runs: speed, memory, growth and endurance. See ``bench/README.md``."""
