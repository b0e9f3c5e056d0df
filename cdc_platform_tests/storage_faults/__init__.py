"""Storage that throws, truncates, delays and lists what is not so any more."""
