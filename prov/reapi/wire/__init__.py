"""The messages of the Remote Execution API; generated from messages.proto."""
