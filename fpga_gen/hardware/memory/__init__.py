"""Feature-map memory and the store unit."""
