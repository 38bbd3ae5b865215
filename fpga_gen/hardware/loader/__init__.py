"""Weight stream -> weight slots, parameters and words of LOADs."""
