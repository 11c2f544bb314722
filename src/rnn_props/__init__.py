"""Property-based test suites for recurrent PyTorch modules."""

__version__ = "0.1.0"
