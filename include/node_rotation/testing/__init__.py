"""A world in memory with a clock that jumps: for unit tests, property tests and simulation."""
