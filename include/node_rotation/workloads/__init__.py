"""What pods ask of a rotation: budgets they share, volumes, single replicas, who must not be disrupted, checks."""
