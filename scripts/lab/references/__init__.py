"""Plain formulations of what the methods compute, a module each: equal in tests, slower in benchmarks."""
