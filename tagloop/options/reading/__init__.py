"""Names and texts of the command line and of --config files -> values of options."""
