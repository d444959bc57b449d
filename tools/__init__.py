"""Development tools: lint rules of our own, and the generated reference pages."""
