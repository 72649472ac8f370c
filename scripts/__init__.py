"""Commands of a checkout; none of it is part of the installed package."""
