"""What every room stands on, and that knows no domain."""
