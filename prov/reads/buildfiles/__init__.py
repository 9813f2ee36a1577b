"""Files in WORKDIRs in which build tools state what they looked for and what they read."""
