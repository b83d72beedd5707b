"""Clips as data: their annotations, their features in files, and class priors."""
