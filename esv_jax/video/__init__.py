"""Video: decoding, sampling of frames, and what a backbone wants of its images; no models."""
