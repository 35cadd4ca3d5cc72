"""Watches a rotation from outside and says what it did. Shares no code with the rotation."""
