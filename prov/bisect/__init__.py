"""Bisection over recorded builds."""
