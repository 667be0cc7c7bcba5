"""What a run takes before it is started: messages between the ranks, and time on many of them. Arithmetic alone."""
