"""The simulator behind the benchmark moving_shapes: its world, scenarios, wording and pictures."""
