"""The methods, a folder each; other people's models behind the same steps; the registry that finds them."""
