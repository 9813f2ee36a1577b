"""The documentation site: pages for Sphinx, generated from README, docs/ and the help."""
