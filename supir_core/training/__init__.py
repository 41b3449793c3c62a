"""Training: the networks of SUPIR and InstantIR fine-tuned, or trained anew, on one's own pictures."""
