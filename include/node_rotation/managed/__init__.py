"""EKS managed node groups: the group as a value, its image, and what a plan says of it."""
