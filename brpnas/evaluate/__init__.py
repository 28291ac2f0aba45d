"""What a choice is worth: looked up in a table, or really trained."""
