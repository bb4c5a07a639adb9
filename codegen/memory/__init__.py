"""What is kept between runs, and beside one: the last run, formatted code, a second process."""
