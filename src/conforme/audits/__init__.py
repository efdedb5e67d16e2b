"""The audit itself: timeline, analysis, evidence, scoring."""
