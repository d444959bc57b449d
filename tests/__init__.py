"""The tests of Embergate."""
