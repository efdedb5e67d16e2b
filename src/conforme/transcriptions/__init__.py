"""Speech to text: words, chunks and the provider."""
