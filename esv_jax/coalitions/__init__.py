"""Coalitions of frames: the subset lattice, weights, and the plans that pick coalitions. Never sees a feature."""
