"""One task, from its inputs to its record: task hash, sandbox, script, WORKDIR, relocation."""
