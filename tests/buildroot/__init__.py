"""Tests of Buildroot's adapter."""
