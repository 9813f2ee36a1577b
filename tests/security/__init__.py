"""Attacks, by the position of the attacker; docs/security.md states prov's promises."""
