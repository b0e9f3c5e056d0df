"""The pipeline under load, with faults injected, against what is known of every commit."""
