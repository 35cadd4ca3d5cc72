"""Stories that share a proving ground: it stops with the last of them."""
