"""Tests of the app in process."""
