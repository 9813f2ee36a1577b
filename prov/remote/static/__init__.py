"""Static caches: remotes of plain files that any web server can serve."""
