"""What camfleet is made of besides its own code: licences, and advisories about versions."""
