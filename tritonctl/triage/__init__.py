"""From a service that does not work to the cause, with its evidence and the next step."""
