"""Videos, which are files or folders of images: decoding, choosing frames, preparing them for a backbone."""
