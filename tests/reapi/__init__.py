"""Tests of prov.reapi."""
