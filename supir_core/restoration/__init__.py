"""What both methods do: sizes, tiles, noise, colours."""
