"""What both methods stand on: the networks of SDXL."""
