"""What every handler behind API Gateway shares: the request's values and the answers."""
