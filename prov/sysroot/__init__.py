"""Sysroots: staging packages merged as trees, put on disk by hardlink."""
