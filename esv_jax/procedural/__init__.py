"""Procedural: video clips that we draw ourselves, whose evidence is known."""
