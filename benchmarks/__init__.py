"""Benchmarks of fastconv against its peers: `python -m benchmarks.run --help`."""
