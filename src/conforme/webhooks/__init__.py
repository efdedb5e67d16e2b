"""How deliveries reach other servers: signed, durable, in order, and tried for hours."""
