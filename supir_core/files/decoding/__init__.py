"""Files of each kind to pixels, and those to sRGB."""
