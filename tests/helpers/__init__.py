"""What tests share: small models, servers that misbehave, fleets that may be killed."""
