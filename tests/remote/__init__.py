"""Share results through remotes, with the commands that users run and real servers."""
