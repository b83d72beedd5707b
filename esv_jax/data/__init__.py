"""Clips, which are videos or parts of them with a label: annotations, features in files, class priors."""
