"""The command line: every `embergate` command, and nothing that another layer imports."""
