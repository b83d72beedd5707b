"""Data: annotations, class priors and stores of features; no videos, no models."""
