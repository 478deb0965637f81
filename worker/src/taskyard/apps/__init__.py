"""Worker and scheduler inside of a program, as `app.Worker()` and `app.Beat()` make them."""
