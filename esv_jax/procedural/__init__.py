"""The procedural action set: clips that we draw ourselves, so that the frames that carry the evidence are known."""
