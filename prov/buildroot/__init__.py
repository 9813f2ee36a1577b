"""Record Buildroot's builds: each step of a package becomes a run, each `make` a build."""
