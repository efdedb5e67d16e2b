"""Schedules, their due times, and the runs that fetch, transcribe and audit what a schedule selects."""
