"""Metrics: how good attributions are."""
