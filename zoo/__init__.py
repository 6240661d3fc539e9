"""Recipes (one file each) and, in weights/, what was trained from them."""
