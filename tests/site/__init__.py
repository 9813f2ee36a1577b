"""The documentation site: its pages, put together for Sphinx from README, docs/ and the help."""
