"""The contenders of ``training_speed.py``: loops that train the same student, each in a process of its own."""
