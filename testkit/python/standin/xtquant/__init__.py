"""A stand-in for QMT's Python package, for tests and demonstrations without QMT."""
