"""The pages and tables of the documentation that are read from the code each time it is built."""
