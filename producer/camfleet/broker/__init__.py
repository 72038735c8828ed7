"""A job as Redis sees it, the fast view: every key, script and message of the broker is made here."""
