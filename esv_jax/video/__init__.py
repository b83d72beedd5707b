"""Video files and folders of images: decoding, choosing frames, preparing them for a backbone."""
