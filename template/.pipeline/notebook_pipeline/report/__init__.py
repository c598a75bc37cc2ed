"""`pipeline report`: what a change makes of parameters, metrics and plots."""
