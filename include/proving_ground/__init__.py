"""A real Kubernetes control plane and an AWS that behaves like AWS: where everything here is proven."""
