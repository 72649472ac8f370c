"""Training: recipes, collator, arguments and Trainer."""
