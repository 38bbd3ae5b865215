"""What a command does from end to end, as lists of named steps."""
