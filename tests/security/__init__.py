"""Attacks, by the position of who makes them; docs/security.md says what prov promises against
each.
"""
