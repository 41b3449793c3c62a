"""Many pictures on many machines: Ray's workers, and pictures in object stores."""
