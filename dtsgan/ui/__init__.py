"""The page: one tab a file, assembled in `app.py`."""
