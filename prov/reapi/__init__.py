"""Running tasks as actions of a Remote Execution API server."""
