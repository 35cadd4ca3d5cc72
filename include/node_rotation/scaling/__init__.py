"""What an Auto Scaling group brings along: target groups, lifecycle hooks, what detaching would do to both. Pure."""
