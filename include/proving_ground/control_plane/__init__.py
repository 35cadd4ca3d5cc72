"""A real Kubernetes control plane, built once from pinned Go modules and run as plain processes."""
