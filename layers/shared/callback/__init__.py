"""Two-leg voice callbacks: ring one party, then the other, join them, keep an honest record."""
