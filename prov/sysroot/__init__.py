"""Compose sysroots: merge staging packages as trees and write the result as hardlinks."""
