"""What an operator can see of a deployment."""
