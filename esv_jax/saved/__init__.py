"""Saved models: folders that hold all that is needed to use a model again, and the game of one."""
