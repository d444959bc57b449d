"""The composition root: from settings to parts, and from parts to one ASGI application."""
