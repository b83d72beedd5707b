"""The analyses of the paper, one a file: from the values of a set of videos to tables and pictures."""
