"""Run one task: task hash, sandbox, script, WORKDIR, relocation and record."""
