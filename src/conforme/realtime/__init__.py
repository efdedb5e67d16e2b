"""How the event log reaches browsers."""
