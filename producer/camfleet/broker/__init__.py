"""A job as Redis sees it, the fast view: every key, script and message is made here."""
