"""A CRM, a speech service, a language model and sinks on loopback, speaking the real protocols."""
