"""The command line. All logic is below it, in `prov`."""
