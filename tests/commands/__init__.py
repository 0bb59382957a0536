"""The command line from end to end: a process of its own against real servers, as another program would use it."""
