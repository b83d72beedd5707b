"""Benchmarks: how good estimators are; games with known values, and other packages to compare with."""
