"""Static caches: remotes of plain files, which any web server can serve."""
