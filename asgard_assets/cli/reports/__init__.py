"""What operations return, in words, Markdown or JSON."""
