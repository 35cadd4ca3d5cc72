"""The steps of a rotation, each an ``act`` that may be repeated and a ``look`` that only reads."""
