"""Replaces the nodes of Kubernetes clusters on AWS when a new machine image comes out."""
