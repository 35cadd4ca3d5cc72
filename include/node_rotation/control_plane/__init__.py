"""Masters: what the policy says of them, what a probe found, and whether one may go."""
