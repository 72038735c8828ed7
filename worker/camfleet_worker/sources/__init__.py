"""Images by URI: object storage, guarded web servers, allowed folders."""
