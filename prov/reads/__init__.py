"""What tasks read: watch and trace running tasks, and read what recorded files state."""
