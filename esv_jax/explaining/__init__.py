"""Explaining: the question put to a game by an estimator, for one video, a batch, or until it is certain."""
