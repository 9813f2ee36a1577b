"""Checks of objects that come from elsewhere, before they enter the store."""
