"""What comes from disk and goes there: checkpoints, pictures, labels."""
