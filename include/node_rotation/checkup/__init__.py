"""The check-up before the night: the rights a rotation needs, and findings with remedies."""
