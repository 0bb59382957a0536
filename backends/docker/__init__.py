"""Docker Engines: the Triton containers they run, found, watched and operated."""
