"""The demo: a story in ten chapters, played by real clients on the real server, every claim checked."""

from examples.demo.run import run_demo

__all__ = ["run_demo"]
