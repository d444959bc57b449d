"""Embergate: a self-hosted embeddings platform that speaks the Fireworks and OpenAI API."""

from importlib.metadata import version

__version__ = version("embergate")
