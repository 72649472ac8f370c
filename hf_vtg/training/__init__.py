"""Training: plan, build, run; the Trainer and what a recipe makes it do."""
