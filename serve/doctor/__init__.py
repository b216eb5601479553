"""`errata doctor`: whether a server can run here, and what to do where it cannot. Changes nothing."""
