"""Data, models and features as other programs read them."""
