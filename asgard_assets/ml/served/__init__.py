"""What models were asked over the API: how it compares with what they were trained on, and with the tables of now."""
